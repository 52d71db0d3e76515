// The slow half of the mutex. Its word has three bits:
//
//   held       set by whoever takes the lock, cleared by the owner, or passed on with the lock in a hand-over
//   waiting    set exactly while the queue is not empty; changed under `queue_lock_` only
//   competing  a waiter has been woken and has not yet taken the lock or queued again. Set by an owner on its
//              way out, cleared by that waiter. One at a time: while it is set no other waiter is woken, or a
//              fast owner would empty the queue for a lock that only one of them can have.
//
// Lock:    1. One exchange from 0 to `held`; inline.
//          2. Else, while `held` is clear, an exchange that keeps the other bits: barging.
//          3. Else, under the queue's lock: look again, set `waiting` (and clear `competing`, if this waiter was the
//             competitor) in the same exchange that finds `held` set, and queue. Whoever holds the lock then sees
//             `waiting` when it unlocks, so the wake cannot be lost. A waiter that has lost queues in front.
// Unlock:  1. One exchange from `held` to 0; inline. It fails if anybody waits.
//          2. If one competes already: clear `held` and leave.
//          3. Else, still the owner, under the queue's lock: claim the first waiter. If it has run out of patience,
//             it is the owner now: `held` stays set. Else set `competing`, let go of the queue's lock, and only
//             then clear `held`: the last touch, because the next owner may destroy the mutex. Deliver at the very end.
//
// A waiter leaves by cancellation or deadline only when nobody has claimed it, so it can have neither the lock
// nor the duty to compete; it has nothing to pass on.
//
// Rejected: to clear `held` first and wake after, as a futex-based mutex may: here the waker reads the mutex. A lock in
// a bit of the word instead of `queue_lock_`: one read-modify-write less in a path that costs a wake-up anyway. A time
// as the measure of patience: it costs a clock read per wait, and a simulation could not replay it.
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include <aramid/mutex.hpp>

namespace aramid::inline v0 {

namespace detail {

struct mutex_waiter : wait_node {
  int losses = 0;            // the waiter's own; an owner reads it between claim and deliver
  bool is_competing = false; // the waiter's own
  bool is_owner = false;     // written by the owner that hands over, between claim and deliver
};

}  // namespace detail

bool mutex::lock_unless_held(std::uint32_t clear) noexcept {
  std::uint32_t state = state_.load(std::memory_order_relaxed);
  while ((state & held) == 0) {
    // acquire: pairs with the release of the last owner.
    if (state_.compare_exchange_weak(state, (state | held) & ~clear, std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

bool mutex::lock_or_queue(detail::mutex_waiter& me) noexcept {
  const std::uint32_t clear = me.is_competing ? competing : 0;
  const std::lock_guard guard(queue_lock_);
  std::uint32_t state = state_.load(std::memory_order_relaxed);
  for (;;) {
    const bool free = (state & held) == 0;
    const std::uint32_t next = (state | (free ? held : waiting)) & ~clear;
    if (state_.compare_exchange_weak(state, next, std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
      if (free) {
        return true;
      }
      break;
    }
  }
  if (me.is_competing) {
    me.is_competing = false;
    queue_.push_front(me);
  } else {
    queue_.push_back(me);
  }
  return false;
}

void mutex::leave_queue(detail::mutex_waiter& me) noexcept {
  const std::lock_guard guard(queue_lock_);
  queue_.remove(me);
  if (queue_.empty()) {
    state_.fetch_and(~waiting, std::memory_order_relaxed);
  }
}

wake_reason mutex::wait_for_lock(cancellable may_cancel, time_point deadline) noexcept {
  detail::mutex_waiter me;
  for (;;) {
    if (lock_unless_held(me.is_competing ? competing : 0)) {
      return wake_reason::notified;
    }
    parker wait(may_cancel);
    me.token = wait.token();
    if (lock_or_queue(me)) {
      return wake_reason::notified;
    }
    const wake_reason reason =
        deadline == time_point::max() ? wait.park() : wait.park_until(deadline);
    if (reason != wake_reason::notified) {
      leave_queue(me);
      return reason;
    }
    if (me.is_owner) {
      return reason;
    }
    me.is_competing = true;
    ++me.losses;  // undone by winning: then the count dies with `me`
  }
}

void mutex::lock_slowly() {
  if (wait_for_lock(cancellable::yes, time_point::max()) == wake_reason::cancelled) {
    throw_cancelled();
  }
}

void mutex::lock_slowly_shielded() noexcept {
  wait_for_lock(cancellable::no, time_point::max());
}

bool mutex::lock_slowly_until(time_point deadline) {
  const wake_reason reason = wait_for_lock(cancellable::yes, deadline);
  if (reason == wake_reason::cancelled) {
    throw_cancelled();
  }
  return reason == wake_reason::notified;
}

void mutex::unlock_slowly(std::uint32_t state) noexcept {
  if ((state & held) == 0) {
    std::fputs("aramid: mutex::unlock: the mutex is not locked\n", stderr);
    std::abort();
  }
  while ((state & waiting) == 0 || (state & competing) != 0) {
    // release: pairs with the acquire of the next owner. A failed exchange: somebody queued, or left, or competed.
    if (state_.compare_exchange_weak(state, state & ~held, std::memory_order_release,
                                     std::memory_order_relaxed)) {
      return;
    }
  }

  detail::mutex_waiter* next = nullptr;
  {
    const std::lock_guard guard(queue_lock_);
    next = queue_.claim_front();
    const bool hand_over = next != nullptr && next->losses >= detail::mutex_patience;
    // A plain store will do: `held` and `competing` are the owner's to change from here (nobody competes), and
    // `waiting` belongs to the queue's lock.
    state_.store(held | (queue_.empty() ? 0 : waiting) |
                     (next != nullptr && !hand_over ? competing : 0),
                 std::memory_order_relaxed);
    if (hand_over) {
      next->is_owner = true;
    }
  }
  if (next != nullptr && next->is_owner) {
    deliver(next->token);
    return;
  }
  const park_token competitor = next != nullptr ? next->token : park_token{};
  state_.fetch_and(~held, std::memory_order_release);  // pairs with the acquire of the next owner
  if (competitor) {
    deliver(competitor);
  }
}

}  // namespace aramid::inline v0
