// What figures and their peers in other files do alike, and how much of it. go_micro/main.go says the same again.
#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <mutex>

namespace aramid::bench {

// mutex_contended
inline constexpr int contenders = 8;
inline constexpr long turns = 4000;  // of each

template <class Lock>
void take_turns(Lock& lock, long& sum) {
  for (long i = 0; i < turns; ++i) {
    const std::lock_guard guard(lock);
    benchmark::DoNotOptimize(++sum);
  }
}

// channel_many_to_one
inline constexpr int producers = 4;
inline constexpr std::size_t many_to_one_buffer = 128;

// pairs
inline constexpr int pairs = 32;
inline constexpr long items_of_pair = 4000;
inline constexpr std::size_t pair_buffer = 16;

}  // namespace aramid::bench
