// A worker: one thread's share of a runtime. It owns queues, a timer wheel, a driver and some spare stacks.
//
//   ready_   fibers that peers may steal: the one woken last, those that were woken or have yielded, and those that have not
//            started (ready_queues.hpp)
//   inbox_   woken fibers pinned to this worker       anybody pushes, the owner pops
//   given_   woken fibers that peers have given it    peers push, and pop as thieves (worker_crowded.cpp)
//
// A fiber that suspends picks its successor itself and switches to it directly, on its own stack: one switch, and no
// detour. Only what is long or needs the thread's own stack happens in the *scheduler* context: timers, the driver, searching at
// peers, sleeping. A fiber gets there when it finds no successor, and every 64th turn, or sooner if the watchdog asks.
//
// Whoever is switched to first completes what the one it replaced has left to do (`arrive`): only then are that one's registers
// saved, so only then may others see it:
//
//   yielded   → behind the woken ones
//   parked    → its word's commit; runs on at once if it has been claimed and delivered meanwhile
//   ended     → its stack goes to the spare ones
//
// First switch of a fiber: `bind` gives it a spare stack, whose loop (`stack_loop`) finds it as its occupant. Last switch:
// the loop, back from `run_to_end`, picks a successor; a fresh one is run by the same loop on the same stack without
// any switch; else the stack is left as spare and the next one resumed.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>

#include <aramid/driver.hpp>

#include "control_pool.hpp"
#include "driver_slot.hpp"
#include "execution.hpp"
#include "fiber_control.hpp"
#include "haste.hpp"
#include "injection_queue.hpp"
#include "pace.hpp"
#include "ready_queues.hpp"
#include "shutdown_gate.hpp"
#include "stack_pool.hpp"
#include "thread_state.hpp"
#include "timer_wheel.hpp"

namespace aramid::inline v0::detail {

class runtime_core;
struct thread_state;

/// A counter with one writer. Relaxed: it is only reported.
class own_counter {
public:
  void add(std::uint64_t n = 1) noexcept { set(get() + n); }
  void set(std::uint64_t n) noexcept { value_.store(n, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

private:
  std::atomic<std::uint64_t> value_{0};
};

struct worker_counters {
  own_counter picks;  // of a successor, by a fiber that leaves
  own_counter turns;  // of the scheduler in which a fiber ran
  own_counter announced;  // ends of fibers; before whoever joins one may know
  own_counter steals, migrations, wakes, parks, helps;
  own_counter given;  // fibers to peers

  [[nodiscard]] std::uint64_t switches() const noexcept { return picks.get() + turns.get(); }
};

class worker {
public:
  worker(runtime_core& core, unsigned index, std::uint64_t seed);
  ~worker();

  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;

  // --- execution.cpp's side of a switch -------------------------------------------------------------------------

  // Written before a switch that may be a stack's first, and before every one under ASan; read after it.
  execution* entering = nullptr;
  exception_state* exception_globals = nullptr;  // of the thread that this worker runs on
#if defined(__SANITIZE_THREAD__)
  sigset_t signals_held_over{};  // the thread's mask: written before a switch, read after it
#endif

  // --- called from a fiber on this worker ----------------------------------------------------------------------

  /// Suspends `self` until its word is won.
  void park(fiber_control& self) noexcept;

  /// Lets others run before `self`.
  void yield(fiber_control& self) noexcept;

  /// Queues a fiber that has not started.
  void push_fresh(fiber_control& fiber) noexcept;

  // --- called on this worker's thread, from a fiber or the scheduler -----------------------------------------------

  /// Queues a fiber that the running one has woken: it runs next.
  void push_woken(fiber_control& fiber) noexcept;

  /// Queues fibers that one poll has woken, in order, linked through `next`.
  void push_batch(waiter* first, std::size_t count) noexcept;

  fiber_control& take_control();
  void give_control(fiber_control& block) noexcept;
  void count_ended() noexcept;

  // --- the scheduler ---------------------------------------------------------------------------------------------

  /// The thread's main function: turns and sleeps until the runtime ends.
  void run() noexcept;

  /// Makes the calling thread this worker: for `run`, and for whoever steps several workers on one thread.
  void bind_thread() noexcept;

  /// One turn of the scheduler: serves timers and driver, then lets one fiber run until the scheduler is due again.
  /// Returns: whether a fiber ran. Never blocks.
  bool turn() noexcept;

  /// Sleeps until there may be work, `deadline` at the latest.
  void sleep(time_point deadline) noexcept;

  /// The two ends of `sleep`, for whoever steps workers: it cannot block between them. `prepare_sleep` returns the driver to
  /// poll until `deadline`, which it lowers to the next timer, or nullptr if there may be work. `end_sleep` must follow.
  driver* prepare_sleep(time_point& deadline, wake_batch& batch) noexcept;
  void end_sleep(wake_batch& batch) noexcept;

  // --- called from any thread --------------------------------------------------------------------------------------

  /// Makes its current or next sleep end.
  void wake() noexcept { driver_.wake(); }

  /// Queues a woken fiber that is pinned here.
  void push_pinned(fiber_control& fiber) noexcept;

  /// What a peer may take: whether the queues hold anything.
  [[nodiscard]] bool has_stealable() const noexcept { return ready_.size() != 0 || !given_.empty(); }
  /// Whether it should: not all that a peer may take is better off there.
  [[nodiscard]] bool worth_a_visit() const noexcept;
  /// How many woken fibers wait here.
  [[nodiscard]] std::size_t backlog() const noexcept { return ready_.woken().size(); }

  /// Its newest driver. It may be asleep in an older one (driver_slot.hpp).
  [[nodiscard]] driver& current_driver() const noexcept { return driver_.current(); }
  void use_driver(driver& made) noexcept { driver_.replace(made); }

  /// Its driver once its runtime does I/O; before, nullptr.
  [[nodiscard]] driver* driver_for_io() const noexcept { return driver_for_io_.load(std::memory_order_acquire); }
  /// acquire, above: pairs with this release, behind which every worker has its driver.
  void begin_io() noexcept { driver_for_io_.store(&current_driver(), std::memory_order_release); }

  /// Called by a peer: serves the timers and the driver of `victim`, whose thread is stuck in a fiber.
  bool help(worker& victim) noexcept;

  /// The fiber that runs on it; nullptr, or the thread's own waiter, if its scheduler does. Its own thread only.
  [[nodiscard]] waiter* running() const noexcept { return state_->current; }

  [[nodiscard]] bool stepped() const noexcept { return stepped_; }
  [[nodiscard]] timer_wheel& timers() noexcept { return timers_; }
  [[nodiscard]] const timer_wheel& timers() const noexcept { return timers_; }
  [[nodiscard]] time_point rough_now() const noexcept { return now_; }
  [[nodiscard]] bool asleep() const noexcept { return asleep_.load(std::memory_order_relaxed); }

  runtime_core& core;
  const unsigned index;
  fiber_id next_id = 0;  // the owner's block of ids (fiber.cpp)
  worker_counters counters;
  fiber_tally<> tally;

  /// Set by the watchdog to the value of counters.switches() that has stood still; no longer stuck once that moves.
  std::atomic<std::uint64_t> stuck_at{UINT64_MAX};
  [[nodiscard]] bool stuck() const noexcept {
    return stuck_at.load(std::memory_order_relaxed) == counters.switches();
  }

  /// Any thread: when it looks at its timers and its driver next, counted in fibers.
  [[nodiscard]] std::uint64_t next_look() const noexcept { return next_look_.load(std::memory_order_relaxed); }
  /// Any thread: has it look within the next eight fibers.
  void look_soon() noexcept { next_look_.store(0, std::memory_order_relaxed); }

  /// Of its fibers.
  pace fibers_pace;

  /// Set by the watchdog in a crowd: woken fibers wait here for longer than they should.
  std::atomic<bool> late{false};

  /// Its thread, from its first moment on; 0 before, or if it has none.
  std::atomic<pid_t> thread_id{0};

  /// The worker's own, for everything that has to be random, so that a simulation replays.
  std::uint64_t random() noexcept;

private:
  friend struct stack_loop;

  // Go and tokio look every 64 turns; here it is a multiple of 8 because one counter times both this and the fresh fibers.
  static constexpr std::uint64_t picks_between_looks = 64;
  static constexpr unsigned next_runs_limit = 3;  // of the slot in a row
  static constexpr int next_patience = 100;  // pauses, a few microseconds, before a peer takes what lies in the slot
  static constexpr std::chrono::microseconds help_interval{200};  // between looks at a peer that is stuck
  // The period of `note_period`: by the clock or in looks, whichever ends first.
  static constexpr std::chrono::milliseconds period{10};
  static constexpr std::uint32_t looks_in_period = 4096;
  static constexpr std::size_t prefetch_batch_from = 16, prefetch_from = 64;  // woken fibers in the queue
  static constexpr std::size_t spare_stacks_limit = 64;
  static constexpr std::size_t free_controls_limit = 256;

  // Switching.
  [[nodiscard]] bool look_is_due() const noexcept { return counters.picks.get() >= next_look_.load(std::memory_order_relaxed); }
  fiber_control* pick() noexcept;
  fiber_control* pick_usual(left_by how) noexcept;
  fiber_control* pick_eighth() noexcept;
  fiber_control* pick_woken_first() noexcept;
  fiber_control* pick_rest() noexcept;
  execution& enter(fiber_control& next) noexcept;
  execution& bind(fiber_control& next) noexcept;
  execution& scheduler() noexcept;
  void occupy(fiber_control& next, stack& on) noexcept;
  void note_running(fiber_control& next) noexcept;
  static void arrive(arrival came, left_by usual) noexcept;
  static void arrive_from(arrival came) noexcept;
  void queue_yielded(fiber_control& fiber) noexcept;
  void park_for_any(fiber_control& self) noexcept;
  void yield_to_any(fiber_control& self) noexcept;
  void run_from_scheduler(fiber_control& next) noexcept;

  // Queues.
  void queue_woken(fiber_control& fiber) noexcept;
  void queue_fresh(fiber_control& fiber) noexcept;
  void grow_and_queue(fiber_control& fiber) noexcept;
  void displace_next(fiber_control& fiber) noexcept;
  void prefetch_woken(std::size_t left, left_by how) const noexcept;
  void notify_peer() noexcept;
  void offer_woken() noexcept;
  void note_pace() noexcept;
  [[nodiscard]] std::chrono::nanoseconds wait_behind(std::size_t more) const noexcept;
  /// To one of the first so many workers, if one may have it; `batch` is empty then.
  void hand_over(wake_batch& batch, unsigned peers) noexcept;
  void take_given() noexcept;

  // The scheduler's turn.
  void look_around(bool due) noexcept;
  void note_period() noexcept;
  [[nodiscard]] bool reap_own() noexcept;
  fiber_control* take_overdue() noexcept;
  fiber_control* search() noexcept;
  fiber_control* steal_from(worker& victim, bool last_round) noexcept;
  [[nodiscard]] bool may_sleep() const noexcept;
  [[nodiscard]] bool work_elsewhere() const noexcept;

  // Stacks.
  stack& take_stack(std::size_t size_bytes);
  void give_stack(stack& idle) noexcept;

  ready_queues<fiber_control> ready_;
  injection_queue<fiber_control> inbox_;
  injection_queue<fiber_control> given_;
  timer_wheel timers_;

  /// The value of counters.picks at which the scheduler is due. The owner's, but that the watchdog stores 0 to hurry it; relaxed, as one
  /// of two stores is as good as the other.
  std::atomic<std::uint64_t> next_look_{picks_between_looks};

  // The owner's own, from here on.
  const bool stepped_;  // one eighth of the switches goes through the scheduler, so that a turn stays short
  execution scheduler_;
  thread_state* state_ = nullptr;  // of the thread it runs on
  fiber_control* unstartable_ = nullptr;
  std::exception_ptr unstartable_why_;
  unsigned next_runs_ = 0;
  std::uint64_t batch_begin_ = 0;  // woken fibers from this place to the next have come in batches, but for what came between
  std::uint64_t batch_end_ = 0;
  struct {
    time_point at{};
    std::chrono::nanoseconds cpu{0};  // what the thread had run
    std::uint64_t switches = 0;
  } paced_;  // when the pace was last noted
  haste haste_;  // of the driver
  std::uint32_t looks_ = 0;            // of the scheduler in this period
  time_point period_began_{};
  std::uint64_t fresh_at_period_ = 0;  // the place behind the newest fresh fiber when it began
  std::uint32_t late_periods_ = 0;     // in a row, in which some of those stayed
  std::uint32_t oldest_allowed_ = 0;   // of which so many are taken in this period
  bool fresh_started_ = false;  // since the last time that it was asked
  bool searching_ = false;
  bool slept_ = false;  // between the two ends of `sleep`: whether the driver was polled
  time_point now_;
  std::uint64_t random_;
  stack* spare_stacks_ = nullptr;
  std::size_t spare_stacks_count_ = 0;
  control_list free_controls_;

  // Shared.
  driver_slot<driver> driver_;
  std::atomic<driver*> driver_for_io_{nullptr};  // written under runtime_core's drivers_lock_, once
  std::atomic<bool> asleep_{false};  // written by the owner, read by the watchdog
};

}  // namespace aramid::inline v0::detail
