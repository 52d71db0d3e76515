// What the figures share. A figure is named <figure>/<who>[/<variant>]; its real time is nanoseconds for each operation.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include <aramid/run.hpp>

namespace aramid::bench {

/// Operations that each figure is to do, by ARAMID_BENCH_OPERATIONS in the environment, where instructions are counted
/// (compare_instructions.py); else 0. Google Benchmark has an option for it only from 1.8 on.
inline std::int64_t counted_operations() {
  const char* const operations = std::getenv("ARAMID_BENCH_OPERATIONS");
  return operations == nullptr ? 0 : std::strtoll(operations, nullptr, 10);
}

/// Registers the figure `name`, which `measure(state)` takes.
template <class Fn>
benchmark::internal::Benchmark* add(const char* name, Fn measure) {
  auto* const added = benchmark::RegisterBenchmark(name, std::move(measure))->UseRealTime();
  if (const std::int64_t operations = counted_operations(); operations > 0) {
    added->Iterations(operations);
  }
  return added;
}

/// The same for a figure of which only the instructions say something.
template <class Fn>
benchmark::internal::Benchmark* add_counted(const char* name, Fn measure) {
  return counted_operations() > 0 ? add(name, std::move(measure)) : nullptr;
}

/// Runs `fn` on the first fiber of a runtime of its own.
template <class Fn>
void on_fiber(Fn&& fn, unsigned workers = 1) {
  aramid::run(std::forward<Fn>(fn), aramid::options{.workers = workers});
}

/// Takes the figure: calls `fn`, each call of which is `operations` operations, as often as Google Benchmark wants. An iteration is
/// an operation, so its real time is what the figure says; the counter ns_per_op says the same to those who read counters.
template <class Fn>
void repeat(benchmark::State& state, Fn&& fn, std::int64_t operations = 1) {
  // So many at once that asking costs nothing.
  const std::int64_t calls = std::max<std::int64_t>(1, 64 / operations);
  const auto start = std::chrono::steady_clock::now();
  while (state.KeepRunningBatch(calls * operations)) {
    for (std::int64_t i = 0; i < calls; ++i) {
      fn();
    }
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  state.counters["ns_per_op"] = took.count() / static_cast<double>(state.iterations());
  state.SetItemsProcessed(state.iterations());
}

/// Calls `fn` `times` times: one loop for every fiber of a figure. A CPU predicts returns by the calls it has seen, so fibers that
/// wait in the same place switch faster than those that do not; the figures are of the former, as are their peers'.
template <class Fn>
__attribute__((noinline)) void laps(long times, Fn&& fn) {
  for (long i = 0; i < times; ++i) {
    fn();
  }
}

}  // namespace aramid::bench
