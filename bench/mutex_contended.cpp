// A mutex that 8 fibers on 2 workers want all the time, each holding it for a few nanoseconds; 8 threads and a std::mutex beside it.
#include <mutex>
#include <thread>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/mutex.hpp>

#include "bench_support.hpp"
#include "peer_work.hpp"

namespace aramid::bench {
namespace {

const auto* const ours = add("mutex_contended/aramid", [](benchmark::State& state) {
  on_fiber(
      [&] {
        mutex lock;
        long sum = 0;
        repeat(
            state,
            [&] {
              std::vector<fiber<>> all;
              for (int i = 0; i < contenders; ++i) {
                all.push_back(spawn([&] { take_turns(lock, sum); }));
              }
              for (fiber<>& each : all) {
                each.join();
              }
            },
            contenders * turns);
      },
      2);
});

const auto* const theirs = add("mutex_contended/std_mutex", [](benchmark::State& state) {
  std::mutex lock;
  long sum = 0;
  repeat(
      state,
      [&] {
        std::vector<std::jthread> all;
        for (int i = 0; i < contenders; ++i) {
          all.emplace_back([&] { take_turns(lock, sum); });
        }
      },
      contenders * turns);
});

}  // namespace
}  // namespace aramid::bench
