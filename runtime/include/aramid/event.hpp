// An event: a flag that fibers and threads wait for. threading.Event and asyncio.Event of Python, a manual-reset event of Windows.
#pragma once

#include <atomic>
#include <chrono>

#include <aramid/detail/atomics.hpp>
#include <aramid/detail/broadcast.hpp>
#include <aramid/detail/config.hpp>
#include <aramid/detail/deadline.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

namespace detail {
template <class Fn>
class event_case;
}

/// Is set or not, at first not. To hand over a value as well, use a promise; to wake one of many, a semaphore.
/// Owns:    nothing; it may be destroyed as soon as nobody waits any more: also by a waiter that a `set` has just woken.
/// Threads: any, fibers and others.
class ARAMID_API event {
public:
  event() noexcept = default;
  event(const event&) = delete;
  event& operator=(const event&) = delete;

  /// Sets the event and wakes all that wait. They return from `wait` even if somebody clears it before they run.
  /// Suspends: never.
  /// Ordering: everything before it happens before the return of every wait that it ends.
  void set() noexcept {
    waiters_.change_state([this] {
      set_.store(true, std::memory_order_release);
      return true;
    });
  }

  /// Whoever waits from now on waits for the next `set`. Suspends: never.
  void clear() noexcept {
    waiters_.change_state([this] {
      set_.store(false, std::memory_order_relaxed);
      return false;
    });
  }

  /// Whether it is set; another thread may change that at once. Suspends: never.
  /// Ordering: as `wait`, if it returns true.
  [[nodiscard]] bool is_set() const noexcept {
    const bool set = set_.load(std::memory_order_acquire);
    if (set) {
      waiters_.let_go();
    }
    return set;
  }

  /// Waits until the event is set.
  /// Suspends: while it is not.
  /// Cancels:  throws aramid::cancelled.
  /// Ordering: everything before the `set` happens before the return.
  void wait() {
    enter_wait();
    if (!is_set()) {
      (void)wait_slowly(time_point::max());
    }
  }

  /// Waits until the event is set, but no longer than `timeout`.
  /// Suspends: as `wait`. Cancels: as `wait`.
  /// Returns:  whether it was set.
  template <class Rep, class Period>
  [[nodiscard]] bool wait_for(std::chrono::duration<Rep, Period> timeout) {
    enter_wait();
    return is_set() || wait_slowly(detail::deadline_in(timeout));
  }

  /// As `wait_for`, until `deadline`.
  template <class Clock, class Duration>
  [[nodiscard]] bool wait_until(std::chrono::time_point<Clock, Duration> deadline) {
    enter_wait();
    return is_set() || wait_slowly(detail::deadline_at(deadline));
  }

private:
  template <class Fn>
  friend class detail::event_case;

  bool wait_slowly(time_point deadline) {
    return waiters_.wait_or_throw([this] { return set_.load(std::memory_order_relaxed); }, {"event::wait", this}, deadline);
  }

  detail::atomic<bool> set_{false};  // written under the lock of waiters_
  detail::broadcast waiters_;
};

}  // namespace aramid::inline v0
