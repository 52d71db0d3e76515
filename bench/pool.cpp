// Work handed on: calls that block, to their threads and back; and inputs mapped over a pool of fibers.
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include <aramid/blocking.hpp>
#include <aramid/fiber_pool.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

const auto* const call = add("blocking/aramid", [](benchmark::State& state) {
  on_fiber([&] {
    repeat(state, [] { blocking([] { benchmark::ClobberMemory(); }); });
  });
});

/// A thread that has another one do something and waits for it, which is what a thread pool comes to.
const auto* const thread = add("blocking/std_thread", [](benchmark::State& state) {
  std::mutex lock;
  std::condition_variable changed;
  enum { idle, asked, ending } phase = idle;
  std::thread other([&] {
    std::unique_lock held(lock);
    for (;;) {
      changed.wait(held, [&] { return phase != idle; });
      if (phase == ending) {
        return;
      }
      phase = idle;
      changed.notify_one();
    }
  });
  const auto say = [&](auto what) {
    std::unique_lock held(lock);
    phase = what;
    changed.notify_one();
    if (what == asked) {
      changed.wait(held, [&] { return phase == idle; });
    }
  };
  repeat(state, [&] { say(asked); });
  say(ending);
  other.join();
});

const auto* const map = add("pool_map/aramid", [](benchmark::State& state) {
  on_fiber([&] {
    fiber_pool pool(100);
    std::vector<int> inputs(10'000);
    repeat(
        state,
        [&] {
          long long sum = 0;
          for (const int each : pool.map_unordered(inputs, [](int n) { return n; })) {
            sum += each;
          }
          benchmark::DoNotOptimize(sum);
        },
        static_cast<std::int64_t>(inputs.size()));
  });
});

}  // namespace
}  // namespace aramid::bench
