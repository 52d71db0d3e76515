// One switch from a fiber to the next: 2, 512 and 32,768 of them on one worker.
#include <vector>

#include <aramid/fiber.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

constexpr long at_once = 64;
const auto once = [] { this_fiber::yield(); };

void yield(benchmark::State& state, int fibers) {
  on_fiber([&] {
    bool stop = false;  // one worker: not atomic
    int running = 1;
    std::vector<fiber<>> others;
    for (int i = 1; i < fibers; ++i) {
      others.push_back(spawn([&] {
        ++running;
        while (!stop) {
          laps(at_once, once);
        }
      }));
    }
    while (running != fibers) {  // fresh fibers take turns with those that yield: it is a while until all go round
      this_fiber::yield();
    }
    repeat(
        state, [] { laps(at_once, once); }, at_once * fibers);
    stop = true;
    for (fiber<>& each : others) {
      each.join();
    }
  });
}

const auto* const yield_2 = add("yield/aramid", [](benchmark::State& s) { yield(s, 2); });
const auto* const yield_512 = add("yield/aramid/512", [](benchmark::State& s) { yield(s, 512); });
const auto* const yield_32k =
    add("yield/aramid/32768", [](benchmark::State& s) { yield(s, 32768); });

}  // namespace
}  // namespace aramid::bench
