// The slow half of the mutex: its waiters. The steps are those of detail/mutex_word.hpp.
//
// Rejected: to let go first and wake after, as a futex-based mutex may: the queue lies in the mutex, which the next owner may
// destroy. A lock in a bit of the word instead of `queue_lock_`: one read-modify-write less in a path that costs a wake-up
// anyway. To spin before parking: the owner may be a fiber that is suspended.
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include <aramid/mutex.hpp>

#include "barging.hpp"

namespace aramid::inline v0 {

void mutex::lock_slowly() {
  (void)lock_slowly_until(time_point::max());
}

void mutex::lock_slowly_shielded() noexcept {
  detail::take_or_park(word_, queue_lock_, queue_, {"mutex::lock", this}, cancellable::no, time_point::max());
}

bool mutex::lock_slowly_until(time_point deadline) {
  const wake_reason reason = detail::take_or_park(word_, queue_lock_, queue_, {"mutex::lock", this}, cancellable::yes, deadline);
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
  detail::barging_waiter* next = nullptr;
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
      hand_over = next->lost_too_often();
      word_.settle(!queue_.empty(), !hand_over);
    }
  }
  if (hand_over) {
    next->is_served = true;
  } else {
    word_.let_go();
  }
  deliver(next->token);
}

}  // namespace aramid::inline v0
