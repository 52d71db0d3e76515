// A mutex for fibers and threads alike, in std's shape: std::lock_guard, std::unique_lock and std::scoped_lock
// take it. Only the caller waits: a fiber suspends and leaves its thread to others, a thread sleeps.
//
// An unlock lets the lock go and wakes the first waiter, which then competes with whoever comes by (barging): a lock
// that is handed from sleeper to sleeper would stand idle for a whole wake-up each time. A waiter that has lost
// several times in a row is handed the lock instead, so nobody starves. The protocol is in detail/mutex_word.hpp.
#pragma once

#include <atomic>
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

struct barging_waiter;

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
    return word_.lock_free() || word_.take(false);
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

  detail::mutex_word<> word_;
  detail::spin_lock queue_lock_;
  detail::wait_queue<detail::barging_waiter> queue_;  // under queue_lock_
};

/// A mutex that its owner, a fiber or a thread, can lock again; it is free when it has been unlocked as often.
/// Threads: any, fibers and others.
class ARAMID_API recursive_mutex {
public:
  constexpr recursive_mutex() noexcept = default;
  recursive_mutex(const recursive_mutex&) = delete;
  recursive_mutex& operator=(const recursive_mutex&) = delete;

  /// Locks. Suspends, cancels: as mutex::lock; the owner does not wait, but is told too if it is cancelled.
  /// Throws: std::system_error (resource_unavailable_try_again) if the owner has locked it too often to count.
  void lock();

  /// Locks unless another holds it. Suspends: never.
  [[nodiscard]] bool try_lock() noexcept;

  /// As mutex::try_lock_for.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> timeout) {
    return lock_before(detail::deadline_in(timeout));
  }

  /// As mutex::try_lock_until.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(std::chrono::time_point<Clock, Duration> deadline) {
    return lock_before(detail::deadline_at(deadline));
  }

  /// Undoes one `lock`. To unlock what the caller does not hold ends the program. Suspends: never.
  void unlock() noexcept;

private:
  bool lock_before(time_point deadline);
  bool lock_again(const detail::waiter* me) noexcept;
  void become_owner(const detail::waiter* me) noexcept;

  mutex lock_;
  // Written by whoever holds lock_. Others may read an old value, but never their own name unless they wrote it last.
  std::atomic<const detail::waiter*> owner_{nullptr};
  std::uint32_t depth_ = 0;  // the owner's
};

}  // namespace aramid::inline v0
