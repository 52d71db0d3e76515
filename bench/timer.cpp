// What deadlines cost. timer_arm_cancel: two fibers wake each other by turns, with a far deadline on each wait and without
// one; the difference is a timer armed and cancelled. deadline_scope: a scope around a call that need not wait.
#include <time.h>

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
      wake_other(me);
      wait.park_until(deadline);
    }
  }
  void wake_other(int me) {
    if (waiting_[1 - me]) {  // not before the very first wait
      unpark(waiting_[1 - me]);
    }
  }

private:
  park_token waiting_[2];
};

/// CPU time: both fibers are on one thread, and the difference of two times of a thread that others interrupt means nothing.
std::chrono::nanoseconds thread_time() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

std::chrono::duration<double> time_turns(int count, time_point deadline) {
  turns both;
  // The other has begun to wait when this fiber takes its first turn.
  auto other = spawn([&] {
    both.take(1, count, deadline);
    both.wake_other(1);
  });
  this_fiber::yield();
  const auto start = thread_time();
  both.take(0, count, deadline);
  const auto took = thread_time() - start;
  both.wake_other(0);
  other.join();
  return took;
}

constexpr int turns_at_once = 2048;

void timer_arm_cancel(benchmark::State& state) {
  on_fiber([&] {
    const time_point far = clock::now() + 24h;
    std::chrono::duration<double> total{};
    while (state.KeepRunningBatch(2 * turns_at_once)) {  // two waits for each turn
      const auto without = time_turns(turns_at_once, time_point::max());
      const auto difference = time_turns(turns_at_once, far) - without;
      total += difference;
      state.SetIterationTime(std::max(0.0, difference.count()));
    }
    state.counters["ns_per_op"] = total.count() * 1e9 / static_cast<double>(state.iterations());
    state.SetItemsProcessed(state.iterations());
  });
}

/// Either half of timer_arm_cancel: instructions are counted of whole runs, so compare_instructions.py takes the difference.
void waits(benchmark::State& state, bool with_deadline) {
  on_fiber([&] {
    const time_point deadline = with_deadline ? clock::now() + 24h : time_point::max();
    while (state.KeepRunningBatch(2 * turns_at_once)) {
      time_turns(turns_at_once, deadline);
    }
  });
}

void deadline_scope(benchmark::State& state) {
  on_fiber([&] { repeat(state, [] { with_timeout(24h, [] { enter_wait(); }); }); });
}

const auto* const arm_cancel =
    benchmark::RegisterBenchmark("timer_arm_cancel/aramid", timer_arm_cancel) -> UseManualTime();
const auto* const with =
    add_counted("timer_arm_cancel/aramid/with", [](benchmark::State& s) { waits(s, true); });
const auto* const without =
    add_counted("timer_arm_cancel/aramid/without", [](benchmark::State& s) { waits(s, false); });
const auto* const scope = add("deadline_scope/aramid", deadline_scope);

}  // namespace
}  // namespace aramid::bench
