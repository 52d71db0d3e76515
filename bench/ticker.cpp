// How late a 10 ms ticker is beside a fiber that never gives its thread away, on two workers; a plain thread beside another one, which
// the kernel may interrupt. The time is the 99th of a hundred latenesses; the counters have the median and the worst.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

#include <aramid/fiber.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t ticks = 100;

/// Takes the figure, each tick of which is a call of `sleep_until(due)`.
template <class SleepUntil>
void take_ticks(benchmark::State& state, SleepUntil&& sleep_until) {
  std::vector<double> late;
  for (auto _ : state) {
    late.clear();
    auto due = clock::now();
    for (std::size_t i = 0; i != ticks; ++i) {
      due += 10ms;
      sleep_until(due);
      late.push_back(std::chrono::duration<double>(clock::now() - due).count());
    }
    std::sort(late.begin(), late.end());
    state.SetIterationTime(late[ticks * 99 / 100 - 1]);
  }
  state.counters["median_us"] = late[ticks / 2] * 1e6;
  state.counters["worst_us"] = late.back() * 1e6;
}

void be_a_hog(const std::atomic<bool>& stop) {
  while (!stop.load(std::memory_order_relaxed)) {
  }
}

void fiber_beside_a_hog(benchmark::State& state) {
  on_fiber(
      [&] {
        std::atomic<bool> stop{false};
        auto hog = spawn([&] { be_a_hog(stop); });
        take_ticks(state, [](time_point due) { this_fiber::sleep_until(due); });
        stop = true;
        hog.join();
      },
      2);
}

void thread_beside_a_hog(benchmark::State& state) {
  std::atomic<bool> stop{false};
  std::jthread hog([&] { be_a_hog(stop); });
  take_ticks(state, [](time_point due) { std::this_thread::sleep_until(due); });
  stop = true;
}

benchmark::internal::Benchmark* add_ticker(const char* name, void (*measure)(benchmark::State&)) {
  return benchmark::RegisterBenchmark(name, measure)
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMicrosecond);
}

const auto* const ours = add_ticker("ticker_p99/aramid", fiber_beside_a_hog);
const auto* const theirs = add_ticker("ticker_p99/std_thread", thread_beside_a_hog);

}  // namespace
}  // namespace aramid::bench
