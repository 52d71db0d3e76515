// The waiters of a state that, once it has come, lets all of them go on: an event that is set, a latch at zero, a promise that is kept.
//
//   1. Whoever brings the state about changes it under the lock, claims all who wait, and unlocks: its last touch. The wakes
//      are delivered after that.
//   2. A waiter looks at the state without the lock; if it has come, it still waits for the lock to be free before it goes on (`let_go`):
//      it may be the one who destroys the object.
//   3. Else it queues under the lock, if the state has not come meanwhile, and parks. One that is woken by step 1 need not look again.
//
// Why step 2 sees a lock that is taken: the state is stored after the lock was taken and loaded with acquire, so the load of
// the lock that follows cannot find a value older than that.
#pragma once

#include <mutex>

#include <aramid/detail/config.hpp>
#include <aramid/detail/spin_lock.hpp>
#include <aramid/detail/wait_queue.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

class broadcast {
public:
  /// Calls `change` under the lock, and wakes all who wait if it returns true. Step 1.
  template <class Change>
  void change_state(Change change) noexcept {
    lock_.lock();
    wait_node* const claimed = change() ? waiters_.claim_all() : nullptr;
    lock_.unlock();
    deliver_all(claimed);
  }

  /// Waits for whoever brought the state about to be done with this object. Step 2.
  void let_go() const noexcept {
    if (ARAMID_UNLIKELY(!lock_.is_free())) {
      const std::lock_guard guard(lock_);
    }
  }

  /// Queues `node`, unless `has_come()`. Returns whether it did.
  template <class HasCome>
  bool queue_unless(HasCome has_come, wait_node& node) noexcept {
    const std::lock_guard guard(lock_);
    if (has_come()) {
      return false;
    }
    waiters_.push_back(node);
    return true;
  }

  void withdraw(wait_node& node) noexcept {
    const std::lock_guard guard(lock_);
    waiters_.remove(node);
  }

  /// Waits unless `has_come()`, which is called under the lock. Step 3.
  /// Returns: notified if the state has come.
  template <class HasCome>
  wake_reason wait(HasCome has_come, wait_note note, cancellable may_cancel, time_point deadline) noexcept {
    parker wait(may_cancel, note);
    wait_node me;
    me.token = wait.token();
    if (!queue_unless(has_come, me)) {
      return wake_reason::notified;
    }
    const wake_reason reason = deadline == time_point::max() ? wait.park() : wait.park_until(deadline);
    if (reason != wake_reason::notified) {
      withdraw(me);
    }
    return reason;
  }

  /// As above, for a wait that a cancellation may end.
  /// Returns: whether the state has come; otherwise it is the deadline that has. Throws: aramid::cancelled.
  template <class HasCome>
  bool wait_or_throw(HasCome has_come, wait_note note, time_point deadline) {
    const wake_reason reason = wait(has_come, note, cancellable::yes, deadline);
    if (reason == wake_reason::cancelled) {
      throw_cancelled();
    }
    return reason == wake_reason::notified;
  }

private:
  mutable spin_lock lock_;
  wait_queue<wait_node> waiters_;  // under lock_
};

}  // namespace aramid::inline v0::detail
