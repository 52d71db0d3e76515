// The slow half of the mutex: its waiters. The steps are those of detail/mutex_word.hpp.
//
// Rejected: to let go first and wake after, as a futex-based mutex may: the queue lies in the mutex, which the next owner may
// destroy. A lock in a bit of the word instead of `queue_lock_`: one read-modify-write less in a path that costs a wake-up
// anyway. A time as the measure of patience: it costs a clock read per wait, and a simulation could not replay
// it. To spin before parking: the owner may be a fiber that is
// suspended.
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include <aramid/mutex.hpp>

namespace aramid::inline v0 {

namespace detail {

struct mutex_waiter : wait_node {
  int losses = 0;             // the waiter's own; an owner reads it between claim and deliver
  bool is_competing = false;  // the waiter's own
  bool is_owner = false;      // written by the owner that hands over, between claim and deliver
};

}  // namespace detail

bool mutex::lock_or_queue(detail::mutex_waiter& me) noexcept {
  const std::lock_guard guard(queue_lock_);
  if (word_.lock_or_wait(me.is_competing)) {
    return true;
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
    word_.nobody_waits();
  }
}

wake_reason mutex::wait_for_lock(cancellable may_cancel, time_point deadline) noexcept {
  detail::mutex_waiter me;
  for (;;) {
    if (word_.lock_unless_held(me.is_competing)) {
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
    ++me.losses;  // unless it wins now: then the count goes with `me`
  }
}

void mutex::lock_slowly() {
  if (wait_for_lock(cancellable::yes, time_point::max()) == wake_reason::cancelled) {
    throw_cancelled();
  }
}

void mutex::lock_slowly_shielded() noexcept { wait_for_lock(cancellable::no, time_point::max()); }

bool mutex::lock_slowly_until(time_point deadline) {
  const wake_reason reason = wait_for_lock(cancellable::yes, deadline);
  if (reason == wake_reason::cancelled) {
    throw_cancelled();
  }
  return reason == wake_reason::notified;
}

void mutex::unlock_slowly(std::uint32_t state) noexcept {
  if (!word_.is_held(state)) {
    std::fputs("aramid: mutex::unlock: the mutex is not locked\n", stderr);
    std::abort();
  }
  detail::mutex_waiter* next = nullptr;
  bool hand_over = false;
  while (next == nullptr) {
    if (word_.unlock_unless_waiting(state)) {
      return;
    }
    const std::lock_guard guard(queue_lock_);
    next = queue_.claim_front();
    if (next == nullptr) {
      // All have left. Look again: somebody may queue before the lock is let go of.
      state = word_.nobody_waits();
    } else {
      hand_over = next->losses >= detail::mutex_patience;
      word_.settle(!queue_.empty(), !hand_over);
    }
  }
  if (hand_over) {
    next->is_owner = true;
  } else {
    word_.let_go();
  }
  deliver(next->token);
}

}  // namespace aramid::inline v0
