// The waiter's half of locks that are let go before a waiter is woken (mutex, semaphore, shared_mutex): it competes with
// whoever comes by, and keeps its turn when it loses. The owner's half differs from one to the next: see detail/*_word.hpp.
#pragma once

#include <mutex>

#include <aramid/detail/spin_lock.hpp>
#include <aramid/detail/wait_queue.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

/// How often in a row a woken waiter may find that somebody else was faster before it is handed what it waits for. A
/// time instead would cost a clock read per wait, and a simulation could not replay it.
inline constexpr int patience = 4;

struct barging_waiter : wait_node {
  int losses = 0;             // the waiter's own; whoever wakes it reads it between claim and deliver
  bool is_competing = false;  // the waiter's own
  bool is_served = false;     // written between claim and deliver by whoever hands over

  [[nodiscard]] bool lost_too_often() const noexcept { return losses >= patience; }
};

/// Under the lock of `queue`: a new waiter goes to its end, one that has competed to its front.
template <class Waiter>
void queue_up(wait_queue<Waiter>& queue, Waiter& me) noexcept {
  if (me.is_competing) {
    me.is_competing = false;
    queue.push_front(me);
  } else {
    queue.push_back(me);
  }
}

/// A waiter that was not claimed leaves the queue. `Word` has `nobody_waits()`, for under the lock of the queue.
template <class Word>
void leave_queue(Word& word, spin_lock& queue_lock, wait_queue<barging_waiter>& queue, barging_waiter& me) noexcept {
  const std::lock_guard guard(queue_lock);
  queue.remove(me);
  if (queue.empty()) {
    word.nobody_waits();
  }
}

/// Waits until `take(competed)` or, called under the lock of `queue`, `take_or_wait(competed)` returns true, or until a waker has served
/// the caller. `leave(me)` is for when it gives up.
/// Returns: notified with what was waited for; otherwise the caller has nothing and owes nothing.
template <class Waiter, class Take, class TakeOrWait, class Leave>
wake_reason take_or_park(Waiter& me, spin_lock& queue_lock, wait_queue<Waiter>& queue, Take take, TakeOrWait take_or_wait, Leave leave,
                         wait_note note, cancellable may_cancel, time_point deadline) noexcept {
  while (!take(me.is_competing)) {
    parker wait(may_cancel, note);
    me.token = wait.token();
    {
      const std::lock_guard guard(queue_lock);
      if (take_or_wait(me.is_competing)) {
        return wake_reason::notified;
      }
      queue_up(queue, me);
    }
    const wake_reason reason = deadline == time_point::max() ? wait.park() : wait.park_until(deadline);
    if (reason != wake_reason::notified) {
      leave(me);
      return reason;
    }
    if (me.is_served) {
      return reason;
    }
    me.is_competing = true;
    ++me.losses;  // unless it is the first now: then the count goes with `me`
  }
  return wake_reason::notified;
}

/// As above, with `word`'s functions of these names.
template <class Word>
wake_reason take_or_park(Word& word, spin_lock& queue_lock, wait_queue<barging_waiter>& queue, wait_note note,
                         cancellable may_cancel, time_point deadline) noexcept {
  barging_waiter me;
  return take_or_park(
      me, queue_lock, queue, [&](bool competed) { return word.take(competed); },
      [&](bool competed) { return word.take_or_wait(competed); },
      [&](barging_waiter& leaving) { leave_queue(word, queue_lock, queue, leaving); }, note, may_cancel, deadline);
}

}  // namespace aramid::inline v0::detail
