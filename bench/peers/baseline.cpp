// What the standard library offers for the same: its locks and semaphore, and the clock that every deadline must read.
#include <chrono>
#include <mutex>
#include <semaphore>
#include <shared_mutex>
#include <thread>

#include "../bench_support.hpp"

namespace aramid::bench {
namespace {

/// Calls `acquire` and `release` on a thread of its own: in a process that has only one, glibc leaves the atomic instructions out.
template <class Acquire, class Release>
void uncontended(benchmark::State& state, Acquire acquire, Release release) {
  std::thread([&] {
    repeat(state, [&] {
      acquire();
      benchmark::ClobberMemory();
      release();
    });
  }).join();
}

void std_mutex(benchmark::State& state) {
  std::mutex lock;
  uncontended(state, [&] { lock.lock(); }, [&] { lock.unlock(); });
}

void std_shared_mutex(benchmark::State& state) {
  std::shared_mutex lock;
  uncontended(state, [&] { lock.lock_shared(); }, [&] { lock.unlock_shared(); });
}

void std_semaphore(benchmark::State& state) {
  std::counting_semaphore<> permits(1);
  uncontended(state, [&] { permits.acquire(); }, [&] { permits.release(); });
}

void clock_read(benchmark::State& state) {
  repeat(state, [] { benchmark::DoNotOptimize(std::chrono::steady_clock::now()); });
}

const auto* const lock = add("mutex/std_mutex", std_mutex);
const auto* const shared = add("shared_mutex/std_shared_mutex", std_shared_mutex);
const auto* const permit = add("semaphore/std_semaphore", std_semaphore);
const auto* const timer = add("timer_arm_cancel/clock_read", clock_read);
const auto* const scope = add("deadline_scope/clock_read", clock_read);

}  // namespace
}  // namespace aramid::bench
