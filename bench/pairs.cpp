// Many fibers that wait all the time, but each for its own partner only: 32 pairs, a producer and a consumer with a channel between
// them. More workers than one must not tear the pairs apart and make wake-ups of another CPU out of switches.
// `pairs/aramid/<workers>` is the time of an item.
#include <vector>

#include <aramid/channel.hpp>
#include <aramid/fiber.hpp>

#include "bench_support.hpp"
#include "peer_work.hpp"

namespace aramid::bench {
namespace {

/// Is the consumer of its pair.
void run_pair() {
  channel<long> items(pair_buffer);
  auto producer = spawn([&] {
    for (long n = 0; n < items_of_pair; ++n) {
      items.send(n);
    }
    items.close();
  });
  for (const long item : items) {
    benchmark::DoNotOptimize(item);
  }
  producer.join();
}

void on_workers(benchmark::State& state, unsigned workers) {
  on_fiber(
      [&] {
        repeat(
            state,
            [] {
              std::vector<fiber<>> all;
              for (int i = 0; i < pairs; ++i) {
                all.push_back(spawn(run_pair));
              }
              for (fiber<>& each : all) {
                each.join();
              }
            },
            pairs * items_of_pair);
      },
      workers);
}

const auto* const on_1 = add("pairs/aramid/1", [](benchmark::State& s) { on_workers(s, 1); });
const auto* const on_2 = add("pairs/aramid/2", [](benchmark::State& s) { on_workers(s, 2); });
const auto* const on_8 = add("pairs/aramid/8", [](benchmark::State& s) { on_workers(s, 8); });

}  // namespace
}  // namespace aramid::bench
