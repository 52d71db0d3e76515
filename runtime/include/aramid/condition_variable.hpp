// A condition variable for fibers and threads alike, in std's shape, with aramid::mutex.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>  // std::cv_status
#include <mutex>               // std::unique_lock
#include <utility>

#include <aramid/detail/config.hpp>
#include <aramid/detail/deadline.hpp>
#include <aramid/detail/wait_queue.hpp>
#include <aramid/mutex.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

using std::cv_status;

/// Lets fibers and threads wait until others have changed what a mutex protects. A wait never ends for no reason: it was
/// notified, cancelled, or is out of time. Others may have run in between all the same, so look again.
/// Owns:    nothing; it may be destroyed once every waiter has been notified or cancelled, returned or not.
/// Threads: any, fibers and others; all who wait at one time use the same mutex.
class ARAMID_API condition_variable {
public:
  constexpr condition_variable() noexcept = default;
  condition_variable(const condition_variable&) = delete;
  condition_variable& operator=(const condition_variable&) = delete;

  /// Wakes the waiter that has waited longest. The caller need not hold the mutex.
  /// A notification that meets a waiter which is being cancelled at the same moment goes either to it, and
  /// its wait returns normally, or to the next one: it is not lost.
  /// Suspends: never.
  /// Ordering: everything before it happens before the waiter's return.
  void notify_one() noexcept {
    if (has_waiters()) {
      notify_first();
    }
  }

  /// Wakes all that wait now.
  /// Suspends: never. Ordering: as `notify_one`.
  void notify_all() noexcept {
    if (has_waiters()) {
      notify_every();
    }
  }

  /// Unlocks `lock`, waits to be notified, and locks again.
  /// Suspends: until notified, and then until the lock is free again.
  /// Cancels:  throws aramid::cancelled with the lock held again; the second wait, for the lock, is shielded.
  /// Throws:   std::system_error (operation_not_permitted) if `lock` does not hold a mutex.
  /// Ordering: unlocking and beginning to wait are one step for whoever locks the mutex next.
  void wait(std::unique_lock<mutex>& lock) {
    enter_wait();
    wait_until_notified(lock, time_point::max());
  }

  /// Waits until `predicate()`, which is called with the lock held, is true. What it throws leaves with the lock held.
  /// Otherwise as `wait`; a cancelled caller is told so even if the predicate is true at once.
  template <class Predicate>
  void wait(std::unique_lock<mutex>& lock, Predicate predicate) {
    enter_wait();
    while (!predicate()) {
      wait_until_notified(lock, time_point::max());
    }
  }

  /// As `wait`, but no longer than `timeout`, the second wait for the lock not counted.
  /// Returns: cv_status::timeout if it was the time that ended the wait.
  template <class Rep, class Period>
  cv_status wait_for(std::unique_lock<mutex>& lock, std::chrono::duration<Rep, Period> timeout) {
    enter_wait();
    return wait_until_notified(lock, detail::deadline_in(timeout));
  }

  /// As `wait_for`, until `deadline`.
  template <class Clock, class Duration>
  cv_status wait_until(std::unique_lock<mutex>& lock,
                       std::chrono::time_point<Clock, Duration> deadline) {
    enter_wait();
    return wait_until_notified(lock, detail::deadline_at(deadline));
  }

  /// As `wait` with a predicate, but no longer than `timeout`.
  /// Returns: what `predicate()` returned last.
  template <class Rep, class Period, class Predicate>
  bool wait_for(std::unique_lock<mutex>& lock, std::chrono::duration<Rep, Period> timeout,
                Predicate predicate) {
    return wait_until(lock, detail::deadline_in(timeout), std::move(predicate));
  }

  /// As `wait` with a predicate, but no longer than until `deadline`.
  /// Returns: what `predicate()` returned last.
  template <class Clock, class Duration, class Predicate>
  bool wait_until(std::unique_lock<mutex>& lock, std::chrono::time_point<Clock, Duration> deadline,
                  Predicate predicate) {
    enter_wait();
    const time_point until = detail::deadline_at(deadline);
    while (!predicate()) {
      if (wait_until_notified(lock, until) == cv_status::timeout) {
        return predicate();
      }
    }
    return true;
  }

private:
  cv_status wait_until_notified(std::unique_lock<mutex>& lock, time_point deadline);

  void notify_first() noexcept;
  void notify_every() noexcept;

  // No lock: a notifier that had the mutex after a waiter let go of it cannot read an older value than `true`, and
  // any other notifier might as well have come before the waiter. acquire: pairs with the release of the last waiter that
  // left by itself, which does not touch the object after that; the caller may destroy it.
  [[nodiscard]] bool has_waiters() const noexcept {
    return has_waiters_.load(std::memory_order_acquire);
  }

  // Both under the lock that condition_variable.cpp keeps for this address.
  detail::wait_queue<detail::wait_node> waiters_;
  std::atomic<bool> has_waiters_{
      false};  // whether `waiters_` is not empty; notifiers read it without the lock
};

}  // namespace aramid::inline v0
