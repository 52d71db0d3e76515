// How late a 10 ms ticker is beside a fiber that never gives its thread away, on two workers. The time is the 99th of a hundred
// latenesses; the counters have the median and the worst.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <vector>

#include <aramid/fiber.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t ticks = 100;

void beside_a_hog(benchmark::State& state) {
  on_fiber(
      [&] {
        std::atomic<bool> stop{false};
        auto hog = spawn([&] {
          while (!stop.load(std::memory_order_relaxed)) {
          }
        });
        std::vector<double> late;
        for (auto _ : state) {
          late.clear();
          auto due = clock::now();
          for (std::size_t i = 0; i != ticks; ++i) {
            due += 10ms;
            this_fiber::sleep_until(due);
            late.push_back(std::chrono::duration<double>(clock::now() - due).count());
          }
          std::sort(late.begin(), late.end());
          state.SetIterationTime(late[ticks * 99 / 100 - 1]);
        }
        stop = true;
        hog.join();
        state.counters["median_us"] = late[ticks / 2] * 1e6;
        state.counters["worst_us"] = late.back() * 1e6;
      },
      2);
}

const auto* const registered = benchmark::RegisterBenchmark("ticker_p99/aramid", beside_a_hog)
                                   ->UseManualTime()
                                   ->Iterations(1)
                                   ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace aramid::bench
