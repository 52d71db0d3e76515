// A fiber's whole life: spawned, run, joined.
#include <aramid/fiber.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

void spawn_join(benchmark::State& state) {
  on_fiber([&] {
    long sum = 0;
    repeat(state, [&] { spawn([&] { ++sum; }).join(); });
    benchmark::DoNotOptimize(sum);
  });
}

const auto* const registered = add("spawn_join/aramid", spawn_join);

}  // namespace
}  // namespace aramid::bench
