// Sees to it that a fiber which hogs its thread strands nobody: a thread that looks at the workers' switch counters every
// couple of milliseconds while there is activity, and sleeps when there is none.
//
//   1. A tick compares each worker's counter with what it was at the last tick. One that has not moved while its worker
//      was awake marks the worker stuck (worker::stuck_at); the mark is void as soon as the counter moves.
//   2. If a worker is stuck, a sleeping peer is woken. Being awake, it searches, and finds the stuck worker's ready fibers, its
//      timers and its driver's completions (worker::search, worker::help), and goes on doing so every 200 µs: a completion
//      that it nudges the kernel to finish shows up to 90 µs later. Peers that are busy look every 64 turns.
//   3. A worker that has run fibers since the last tick and had no look due at its timers and its driver is asked for one soon: one is due
//      every 64 fibers, which is 0.3 ms of I/O, but 64 of some that compute for a millisecond each.
//   4. If nothing has happened for a whole tick and every worker sleeps, the watchdog sleeps too, until a worker that
//      comes back from its sleep says so (note_activity). So an idle program has no wake-ups, and
//      a busy one pays one system call per quiet period and a tick every `period`.
//   5. Every `crowding::window` it adds up for how long the workers ran, how much of that in heavy fibers, and for how long they waited for a
//      CPU, and says whether they are crowded (crowding.hpp). As long as they are, a tick also compares how many fibers a worker has run with how many
//      wait there: at that rate, will it have run them all within `crowding::patience`? If not it is late: a peer is woken, which takes from it.
//
// It also reports hogs, if asked to (hog_report.hpp): a worker that has stood still at so many ticks in a row.
//
// And deadlocks, if asked to: before it sleeps in step 4 it asks whether anything will wake a fiber. If nothing will, it sleeps for a second
// first, and if nothing has happened then either, it says so, once.
//
// Step 4's race: the watchdog announces that it sleeps, seq_cst fence, and looks once more whether every worker sleeps; a
// worker that wakes says that it is awake, seq_cst fence, and looks whether the watchdog sleeps. One sees the other.
//
// Rejected: one parked worker on a bounded wait (DESIGN §4's first thought): the role has to be passed on whenever that worker
// is given work, which at low load doubles the wake-ups; a thread of its own costs 0.2% of one CPU while busy.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include <aramid/park.hpp>

#include "crowding.hpp"
#include "run_delay.hpp"

namespace aramid::inline v0::detail {

class runtime_core;

class watchdog {
public:
  static constexpr std::chrono::milliseconds period{2};
  static_assert(crowding::window % period == period.zero() && crowding::patience % period == period.zero());

  explicit watchdog(runtime_core& core) noexcept : core_(core) {}

  /// Hogs are reported after `report_hogs_after`; zero: never. Throws: std::system_error.
  void start(std::chrono::milliseconds report_hogs_after, bool report_deadlocks);
  void stop() noexcept;

  /// A worker, which no longer counts as asleep, is awake again.
  void note_activity() noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (word_.load(std::memory_order_relaxed) == asleep) {
      wake();
    }
  }

  /// Whether some worker was stuck at the last tick.
  [[nodiscard]] bool any_stuck() const noexcept { return any_stuck_.load(std::memory_order_relaxed); }

  /// Whether the workers have fewer CPUs than they would use.
  [[nodiscard]] bool crowded() const noexcept { return crowded_.load(std::memory_order_relaxed); }
  /// From now on it is so, whatever is measured: for tests.
  void assume_crowded(bool so) noexcept {
    assumes_.store(true, std::memory_order_relaxed);
    crowded_.store(so, std::memory_order_relaxed);
  }

  /// From now on the CPU times of the workers are looked at, whose threads are running. Takes a descriptor for each, until `stop`. Once.
  void watch_cpu_times() noexcept;
  [[nodiscard]] bool watches_cpu_times() const noexcept { return watches_cpu_times_.load(std::memory_order_acquire); }

private:
  enum word : std::uint32_t { ticking, asleep, ending };

  /// The watchdog thread's own notes of a worker.
  struct note {
    std::uint64_t switches = 0;  // this and the next: at the last tick
    std::uint64_t next_look = 0;
    time_point since{};          // when it was first seen to have stood still
    bool reported = false;
    run_delay delay;
    cpu_times cpu;                         // when `delay` was last read
    std::chrono::nanoseconds heavy{0};     // and what heavy fibers had taken
    std::uint64_t switches_at_window = 0;  // at the end of the last window
  };

  void run() noexcept;
  /// One tick. Returns whether anything has happened since the last.
  bool look() noexcept;
  void look_at_cpu_times() noexcept;
  void note_crowded(bool so) noexcept;
  void look_for_hog(unsigned index, note& of) noexcept;
  void sleep_until_activity() noexcept;
  /// Returns whether every worker has slept all the time until `deadline`.
  bool sleep_until_activity(time_point deadline) noexcept;
  void report_deadlock() noexcept;
  void wake() noexcept;
  void wait(std::uint32_t while_word, time_point deadline) noexcept;
  [[nodiscard]] bool everybody_sleeps() const noexcept;

  runtime_core& core_;
  std::thread thread_;
  std::atomic<std::uint32_t> word_{ticking};  // futex
  std::atomic<bool> any_stuck_{false};
  std::atomic<bool> crowded_{false};
  std::atomic<bool> assumes_{false};
  std::atomic<bool> watches_cpu_times_{false};  // release, after the descriptors are open
  crowding crowding_;  // the watchdog thread's own, as all that follows
  unsigned ticks_ = 0;
  std::vector<note> notes_;
  std::chrono::milliseconds report_after_{0};
  bool report_deadlocks_ = false;  // until it has been done
};

}  // namespace aramid::inline v0::detail
