// What the figures share. A figure is named <figure>/<who>[/<variant>]; its real time is nanoseconds for each operation.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <utility>

#include <aramid/run.hpp>

namespace aramid::bench {

/// Registers the figure `name`, which `measure(state)` takes.
template <class Fn>
benchmark::internal::Benchmark* add(const char* name, Fn measure) {
  return benchmark::RegisterBenchmark(name, std::move(measure))->UseRealTime();
}

/// Runs `fn` on the first fiber of a runtime of its own.
template <class Fn>
void on_fiber(Fn&& fn, unsigned workers = 1) {
  aramid::run(std::forward<Fn>(fn), aramid::options{.workers = workers});
}

/// Says how many operations an iteration is, for a figure whose iteration is not one.
inline void count_operations(benchmark::State& state, std::int64_t each_iteration = 1) {
  const auto operations = static_cast<double>(state.iterations() * each_iteration);
  state.SetItemsProcessed(state.iterations() * each_iteration);
  state.counters["ns_per_op"] = benchmark::Counter(
      operations * 1e-9, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

}  // namespace aramid::bench
