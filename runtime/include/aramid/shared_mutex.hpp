// A mutex that many may hold at once to read, or one alone to write, in std's shape: std::shared_lock and std::unique_lock take it.
// For fibers and threads alike.
//
// Neither side starves: a reader queues behind whoever waits, so that a stream of readers does not keep a writer out, and all
// readers in front of the queue are let in together. Writers compete as in aramid::mutex. The protocol is in
// detail/shared_mutex_word.hpp.
#pragma once

#include <chrono>
#include <cstdint>

#include <aramid/detail/config.hpp>
#include <aramid/detail/deadline.hpp>
#include <aramid/detail/shared_mutex_word.hpp>
#include <aramid/detail/spin_lock.hpp>
#include <aramid/detail/wait_queue.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

namespace detail {
struct sharing_waiter;
}

/// Not recursive, neither way: a reader that locks it again may wait for a writer that waits for that reader.
/// Owns:    nothing; it may be destroyed as soon as the last owner has begun to leave.
/// Threads: any, fibers and others.
class ARAMID_API shared_mutex {
public:
  constexpr shared_mutex() noexcept = default;
  shared_mutex(const shared_mutex&) = delete;
  shared_mutex& operator=(const shared_mutex&) = delete;

  /// Locks alone.
  /// Suspends: while anybody else holds it.
  /// Cancels:  throws aramid::cancelled, and the caller does not hold the lock. Once the lock has been handed to it,
  ///           a cancellation comes too late: the call returns with the lock.
  /// Ordering: everything before the unlocks of the owners before happens before the return.
  void lock() {
    enter_wait();
    if (ARAMID_UNLIKELY(!word_.lock_free())) {
      (void)lock_slowly(time_point::max());
    }
  }

  /// Locks alone if nobody holds it. Suspends: never. Returns: true with the lock held; it does not fail spuriously.
  [[nodiscard]] bool try_lock() noexcept { return word_.lock_free() || word_.take(false); }

  /// Locks alone, unless that takes longer than `timeout`; one of zero or less tries once.
  /// Suspends: as `lock`. Cancels: as `lock`. Returns: whether the caller now holds the lock.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> timeout) {
    enter_wait();
    return try_lock() || lock_slowly(detail::deadline_in(timeout));
  }

  /// As `try_lock_for`, until `deadline`.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(std::chrono::time_point<Clock, Duration> deadline) {
    enter_wait();
    return try_lock() || lock_slowly(detail::deadline_at(deadline));
  }

  /// Unlocks. To unlock what nobody holds alone ends the program. Suspends: never.
  /// Ordering: everything before it happens before the next `lock` or `lock_shared` returns.
  void unlock() noexcept {
    std::uint32_t state = 0;
    if (ARAMID_UNLIKELY(!word_.unlock_free(state))) {
      unlock_slowly(state);
    }
  }

  /// Locks together with other readers.
  /// Suspends: while a writer holds it, or waited before. Cancels: as `lock`. Ordering: as `lock`, for the writers before.
  void lock_shared() {
    enter_wait();
    if (ARAMID_UNLIKELY(!word_.share())) {
      (void)lock_shared_slowly(time_point::max());
    }
  }

  /// Locks together with other readers, if nobody holds the lock alone and nobody waits for it. Suspends: never.
  [[nodiscard]] bool try_lock_shared() noexcept { return word_.share(); }

  /// As `try_lock_for`, together with other readers.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_shared_for(std::chrono::duration<Rep, Period> timeout) {
    enter_wait();
    return try_lock_shared() || lock_shared_slowly(detail::deadline_in(timeout));
  }

  /// As `try_lock_until`, together with other readers.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_shared_until(std::chrono::time_point<Clock, Duration> deadline) {
    enter_wait();
    return try_lock_shared() || lock_shared_slowly(detail::deadline_at(deadline));
  }

  /// Undoes one `lock_shared`. Suspends: never.
  /// Ordering: everything before it happens before the next `lock` returns.
  void unlock_shared() noexcept {
    if (ARAMID_UNLIKELY(!word_.unshare())) {
      unlock_shared_slowly();
    }
  }

private:
  struct claimed;

  bool lock_slowly(time_point deadline);
  bool lock_shared_slowly(time_point deadline);
  void unlock_slowly(std::uint32_t state) noexcept;
  void unlock_shared_slowly() noexcept;
  void leave_queue(detail::sharing_waiter& me) noexcept;
  claimed claim_readers() noexcept;
  claimed claim_in_front() noexcept;

  detail::shared_mutex_word<> word_;
  detail::spin_lock queue_lock_;
  detail::wait_queue<detail::sharing_waiter> queue_;  // under queue_lock_
};

}  // namespace aramid::inline v0
