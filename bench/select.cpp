// An item by `select` from four channels that hand over, with a producer on each, on one worker.
#include <array>
#include <optional>
#include <vector>

#include <aramid/channel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/select.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

const auto* const of_four = add("select_4/aramid", [](benchmark::State& state) {
  on_fiber([&] {
    std::array<channel<long>, 4> sources;
    std::vector<fiber<>> all;
    for (channel<long>& each : sources) {
      all.push_back(spawn([&each] {
        try {
          for (long n = 0;; ++n) {
            each.send(n);
          }
        } catch (const channel_closed&) {
        }
      }));
    }
    const auto take = [](std::optional<long> item) { benchmark::DoNotOptimize(*item); };
    repeat(state, [&] {
      select(on_receive(sources[0], take), on_receive(sources[1], take), on_receive(sources[2], take),
             on_receive(sources[3], take));
    });
    for (channel<long>& each : sources) {
      each.close();
    }
    for (fiber<>& each : all) {
      each.join();
    }
  });
});

}  // namespace
}  // namespace aramid::bench
