// What the standard library offers for the same: std::mutex, and the clock that every deadline must read.
#include <chrono>
#include <mutex>
#include <thread>

#include "../bench_support.hpp"

namespace aramid::bench {
namespace {

void std_mutex(benchmark::State& state) {
  // On a thread of its own: in a process that has only one, glibc leaves the atomic instructions out.
  std::thread([&] {
    std::mutex lock;
    repeat(state, [&] {
      lock.lock();
      benchmark::ClobberMemory();
      lock.unlock();
    });
  }).join();
}

void clock_read(benchmark::State& state) {
  repeat(state, [] { benchmark::DoNotOptimize(std::chrono::steady_clock::now()); });
}

const auto* const lock = add("mutex/std_mutex", std_mutex);
const auto* const timer = add("timer_arm_cancel/clock_read", clock_read);
const auto* const scope = add("deadline_scope/clock_read", clock_read);

}  // namespace
}  // namespace aramid::bench
