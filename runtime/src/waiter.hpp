// Whoever can wait: a fiber, or a thread that is none. The memory of waiters is never returned (control_pool.hpp,
// thread_state.cpp), so a park_token that is kept too long only fails.
//
// Cancellation. The scopes and shields that a waiter is inside of form a chain, innermost first; behind the outermost
// stands the waiter itself (its handle's `cancel`). A request is *effective* if no shield lies between
// it and the innermost link. `cancel_pending` says whether any effective request (or expired deadline) exists.
//
//   1. The owner pushes and pops links; cancellers, from any thread, mark requests. All under `chain_lock_`.
//   2. Whoever changes the chain or marks a request recomputes `cancel_pending` under the lock.
//   3. The owner looks at `cancel_pending` on entry to a wait, and again after its commit (seq_cst; park_word.hpp step 4).
//   4. A canceller whose request is effective claims the wait that is open, still under the lock: the owner cannot have left
//      the scope, since leaving takes the lock. It delivers after unlocking; until then the owner stands still.
//   5. A deadline costs nothing until its waiter is suspended: then one timer is armed for the nearest unshielded one
//      (`nearest_deadline`, kept by the owner). When it fires the owner marks what has expired itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <stop_token>

#include <aramid/cancel.hpp>
#include <aramid/detail/spin_lock.hpp>
#include <aramid/park.hpp>

#include "park_word.hpp"

namespace aramid::inline v0::detail {

class stop_list;
struct stop_node;

class waiter {
public:
  /// A fiber is zero: see control_pool.hpp.
  enum class kind : bool { fiber, thread };

  /// Immediate completions in a row before `enter_wait` gives way.
  static constexpr std::uint16_t full_budget = 128;

  explicit waiter(kind what) noexcept : what_(what) {}

  waiter(const waiter&) = delete;
  waiter& operator=(const waiter&) = delete;

  [[nodiscard]] bool is_fiber() const noexcept { return what_ == kind::fiber; }

  /// Suspends the calling waiter, which this is, until its open wait is won, or until `deadline`.
  void suspend(park_token token, time_point deadline) noexcept;

  /// Makes a waiter run that has been claimed while parked.
  void resume() noexcept;

  /// Cancels the waiter as a whole, and lists its stop source, if it has one. Any thread that keeps it alive.
  void request_cancel(stop_list& to_ask) noexcept;

  /// Ends a wait of its that the caller has claimed. It may be gone on return.
  void deliver_claimed() noexcept {
    if (word.deliver()) {
      resume();
    }
  }

  /// A token that is asked to stop when the waiter is cancelled as a whole; the waiter only. Throws std::bad_alloc.
  [[nodiscard]] std::stop_token stop_token();
  /// Its stop source goes.
  void drop_stop_source() noexcept;

  /// A fiber's control block starts a new life.
  void reset_cancellation() noexcept;

  /// Whether a wait entered now has to throw: an effective request or an expired deadline, and not unwinding.
  [[nodiscard]] bool must_throw() noexcept;

  [[nodiscard]] bool unwinding() const noexcept;

  /// The cheap look: false if `must_throw` would be. acquire: what the canceller did before is seen by whoever is cancelled.
  [[nodiscard]] bool must_look() const noexcept {
    return cancel_pending_.load(std::memory_order_acquire) || nearest_deadline_ != time_point::max();
  }

  /// Whether its next wait would throw, if it is not unwinding; deadlines apart. Any thread.
  [[nodiscard]] bool cancel_pending() const noexcept { return cancel_pending_.load(std::memory_order_relaxed); }

  /// Whether a scope's deadline may end its waits. The waiter only.
  [[nodiscard]] bool has_deadline() const noexcept { return nearest_deadline_ != time_point::max(); }

  /// After commit, on whatever context runs next. Returns true if the waiter must run on at once.
  [[nodiscard]] bool commit() noexcept;

  park_word<> word;
  waiter* next = nullptr;  // in a wake_batch or a queue: whoever owns the wake
  std::uint16_t budget = full_budget;  // the waiter only
  bool pinned = false;                 // a fiber that stays on the worker which runs it first; constant from its birth

private:
  friend class scope_link;

  /// Until those who listen to the fiber's stop token have been called by whoever has cancelled it.
  void wait_for_listeners() noexcept;
  void push(scope_link& link) noexcept;
  void pop(scope_link& link) noexcept;
  void request(scope_link& link) noexcept;
  void refresh() noexcept;  // under chain_lock_
  void expire(time_point now) noexcept;
  /// Whether an effective request lies outside of `link`.
  [[nodiscard]] bool effective_outside(const scope_link& link) noexcept;
  /// The time that deadlines are compared with on entry: a tick old at most on a worker.
  [[nodiscard]] time_point rough_now() const noexcept;

  const kind what_;
  std::atomic<bool> cancel_pending_{false};
  spin_lock chain_lock_;
  bool cancel_requested_ = false;          // under chain_lock_
  scope_link* innermost_ = nullptr;        // under chain_lock_; written by the waiter only
  time_point nearest_deadline_ = time_point::max();  // the waiter only
};

}  // namespace aramid::inline v0::detail
