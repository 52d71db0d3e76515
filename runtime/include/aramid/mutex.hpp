// A mutex for fibers and threads alike, in std's shape: std::lock_guard, std::unique_lock and std::scoped_lock
// take it. Only the caller waits: a fiber suspends and leaves its thread to others, a thread sleeps.
//
// An unlock lets the lock go and wakes the first waiter, which then competes with whoever comes by (barging): a lock
// that is handed from sleeper to sleeper would stand idle for a whole wake-up each time. A waiter that has lost
// `mutex_patience` times in a row is handed the lock instead, so nobody starves. The protocol is in detail/mutex_word.hpp.
#pragma once

#include <chrono>
#include <cstdint>

#include <aramid/detail/config.hpp>
#include <aramid/detail/deadline.hpp>
#include <aramid/detail/mutex_word.hpp>
#include <aramid/detail/spin_lock.hpp>
#include <aramid/detail/wait_queue.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

class condition_variable;

namespace detail {

struct mutex_waiter;

/// How often in a row a woken waiter may find the lock taken by somebody else before it is handed over.
inline constexpr int mutex_patience = 4;

}  // namespace detail

/// Mutual exclusion, not recursive. A fiber that locks it may unlock it on another thread of the runtime, after a
/// suspension; it may not be unlocked by another fiber.
/// Owns:    nothing; it may be destroyed as soon as the last `unlock` has begun to return.
/// Threads: any, fibers and others.
class ARAMID_API mutex {
public:
  constexpr mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  /// Locks.
  /// Suspends: while another holds it. Waiters are woken in the order of their calls.
  /// Cancels:  throws aramid::cancelled, and the caller does not hold the lock. Once the lock has been handed to it,
  ///           a cancellation comes too late: the call returns with the lock.
  /// Ordering: everything before the last `unlock` happens before the return.
  void lock() {
    enter_wait();
    if (ARAMID_UNLIKELY(!word_.lock_free())) {
      lock_slowly();
    }
  }

  /// Locks if nobody holds it.
  /// Suspends: never. Returns: true with the lock held; it does not fail spuriously.
  /// Ordering: as `lock`, if it returns true.
  [[nodiscard]] bool try_lock() noexcept {
    return word_.lock_free() || word_.lock_unless_held(false);
  }

  /// Locks, unless that takes longer than `timeout`; one of zero or less tries once.
  /// Suspends: as `lock`. Cancels: as `lock`.
  /// Returns:  whether the caller now holds the lock.
  /// Ordering: as `lock`, if it returns true.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> timeout) {
    enter_wait();
    return try_lock() || lock_slowly_until(detail::deadline_in(timeout));
  }

  /// Locks, unless that takes until `deadline`. Otherwise as `try_lock_for`.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(std::chrono::time_point<Clock, Duration> deadline) {
    enter_wait();
    return try_lock() || lock_slowly_until(detail::deadline_at(deadline));
  }

  /// Unlocks, and wakes the first waiter. Unlocking what is not locked ends the program.
  /// Suspends: never.
  /// Ordering: everything before it happens before the next `lock` returns.
  void unlock() noexcept {
    std::uint32_t state = 0;
    if (ARAMID_UNLIKELY(!word_.unlock_free(state))) {
      unlock_slowly(state);
    }
  }

private:
  friend class condition_variable;

  /// Law 1: the re-lock of a condition variable is no cancellation point.
  void lock_shielded() noexcept {
    if (ARAMID_UNLIKELY(!word_.lock_free())) {
      lock_slowly_shielded();
    }
  }

  void lock_slowly();
  void lock_slowly_shielded() noexcept;
  bool lock_slowly_until(time_point deadline);
  void unlock_slowly(std::uint32_t state) noexcept;

  wake_reason wait_for_lock(cancellable may_cancel, time_point deadline) noexcept;
  bool lock_or_queue(detail::mutex_waiter& me) noexcept;
  void leave_queue(detail::mutex_waiter& me) noexcept;

  detail::mutex_word<> word_;
  detail::spin_lock queue_lock_;
  detail::wait_queue<detail::mutex_waiter> queue_;  // under queue_lock_
};

}  // namespace aramid::inline v0
