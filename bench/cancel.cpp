// A group of 100,000 parked fibers is cancelled and joined; a fiber.
#include <chrono>

#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/task_group.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

constexpr int crowd = 100'000;

void cancel_parked(benchmark::State& state) {
  on_fiber([&] {
    while (state.KeepRunningBatch(crowd)) {
      event never;
      int waiting = 0;
      task_group group;
      for (int i = 0; i < crowd; ++i) {
        group.spawn([&] {
          ++waiting;
          never.wait();
        });
      }
      while (waiting != crowd) {
        this_fiber::yield();
      }
      const auto start = std::chrono::steady_clock::now();
      group.cancel();
      group.join();
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      state.SetIterationTime(took.count());
    }
  });
}

const auto* const parked = benchmark::RegisterBenchmark("cancel_parked/aramid", cancel_parked)->UseManualTime();

}  // namespace
}  // namespace aramid::bench
