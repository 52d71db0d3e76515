// What deadlines cost. timer_arm_cancel: two fibers wake each other by turns, with a far deadline on each wait and without
// one; the difference is a timer armed and cancelled. deadline_scope: a scope around a call that need not wait.
#include <algorithm>
#include <chrono>

#include <aramid/fiber.hpp>
#include <aramid/park.hpp>
#include <aramid/timeout.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

using namespace std::chrono_literals;

/// Two fibers of one worker that wake each other.
class turns {
public:
  /// Takes `count` turns, each a park until `deadline`, and returns when it is one's own turn again.
  void take(int me, int count, time_point deadline) {
    for (int i = 0; i < count; ++i) {
      parker wait;
      waiting_[me] = wait.token();
      unpark(waiting_[1 - me]);
      wait.park_until(deadline);
    }
  }
  void end(int me) { unpark(waiting_[1 - me]); }

private:
  park_token waiting_[2];
};

std::chrono::duration<double> time_turns(int count, time_point deadline) {
  turns both;
  // The other has begun to wait when this fiber takes its first turn.
  auto other = spawn([&] {
    both.take(1, count, deadline);
    both.end(1);
  });
  this_fiber::yield();
  const auto start = clock::now();
  both.take(0, count, deadline);
  const auto took = clock::now() - start;
  both.end(0);
  other.join();
  return took;
}

void timer_arm_cancel(benchmark::State& state) {
  constexpr int count = 2000;
  on_fiber([&] {
    const time_point far = clock::now() + 24h;
    while (state.KeepRunningBatch(2 * count)) {  // two waits for each turn
      const auto without = time_turns(count, time_point::max());
      const auto with = time_turns(count, far);
      state.SetIterationTime(std::max(0.0, (with - without).count()));
    }
  });
  count_operations(state);
}

void deadline_scope(benchmark::State& state) {
  on_fiber([&] {
    for (auto _ : state) {
      with_timeout(24h, [] { enter_wait(); });
    }
  });
  count_operations(state);
}

const auto* const arm_cancel =
    benchmark::RegisterBenchmark("timer_arm_cancel/aramid", timer_arm_cancel)->UseManualTime();
const auto* const scope = add("deadline_scope/aramid", deadline_scope);

}  // namespace
}  // namespace aramid::bench
