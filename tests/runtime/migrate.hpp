// A fiber that wants to wake on another thread.
#pragma once

#include <chrono>
#include <thread>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

namespace aramid::test {

/// Its address is not learnt by the caller, so nothing of the thread is kept across the call.
__attribute__((noinline)) inline std::thread::id this_thread_id() {
  asm volatile("" ::: "memory");
  return std::this_thread::get_id();
}

/// Suspends until the fiber has come back on another thread, if there is one.
/// Returns: whether it has.
inline bool migrate(int attempts = 20'000) {
  const auto before = this_thread_id();
  if (stats().workers == 1) {
    this_fiber::yield();
    return false;
  }
  for (int i = 0; i < attempts; ++i) {
    // A sleep: the timer's batch goes onto a ring that others steal from.
    if (i % 8 == 0) {
      this_fiber::sleep_for(std::chrono::microseconds(1));
    } else {
      this_fiber::yield();
    }
    if (this_thread_id() != before) {
      return true;
    }
  }
  return false;
}

}  // namespace aramid::test
