// A latch, in std's shape, for fibers and threads alike: a count that goes down to zero once, and lets all who wait go on.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <limits>

#include <aramid/detail/atomics.hpp>
#include <aramid/detail/broadcast.hpp>
#include <aramid/detail/config.hpp>
#include <aramid/detail/deadline.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

/// Owns:    nothing; it may be destroyed as soon as nobody waits any more: also by a waiter that the last `count_down` has just woken.
/// Threads: any, fibers and others.
class ARAMID_API latch {
public:
  /// Throws: std::invalid_argument if `expected` is negative.
  explicit latch(std::ptrdiff_t expected);
  latch(const latch&) = delete;
  latch& operator=(const latch&) = delete;

  [[nodiscard]] static constexpr std::ptrdiff_t max() noexcept { return std::numeric_limits<std::ptrdiff_t>::max(); }

  /// Takes `n` off the count, and wakes all who wait if that makes it zero. To take off more than is left ends the program.
  /// Suspends: never.
  /// Ordering: everything before it happens before the return of every wait.
  void count_down(std::ptrdiff_t n = 1) noexcept {
    std::ptrdiff_t count = count_.load(std::memory_order_relaxed);
    while (n >= 0 && n < count) {
      // release: pairs with the acquire in `try_wait`, through the release sequence that the last one ends.
      if (count_.compare_exchange_weak(count, count - n, std::memory_order_release, std::memory_order_relaxed)) {
        return;
      }
    }
    count_down_to_zero(n);
  }

  /// Whether the count is zero. Suspends: never; does not fail spuriously. Ordering: as `wait`, if it returns true.
  [[nodiscard]] bool try_wait() const noexcept {
    const bool zero = count_.load(std::memory_order_acquire) == 0;
    if (zero) {
      waiters_.let_go();
    }
    return zero;
  }

  /// Waits until the count is zero.
  /// Suspends: until then. Cancels: throws aramid::cancelled.
  /// Ordering: everything before each `count_down` happens before the return.
  void wait() {
    enter_wait();
    if (!try_wait()) {
      (void)wait_slowly(time_point::max());
    }
  }

  /// Waits until the count is zero, but no longer than `timeout`.
  /// Suspends: as `wait`. Cancels: as `wait`.
  /// Returns:  whether it is zero.
  template <class Rep, class Period>
  [[nodiscard]] bool wait_for(std::chrono::duration<Rep, Period> timeout) {
    enter_wait();
    return try_wait() || wait_slowly(detail::deadline_in(timeout));
  }

  /// As `wait_for`, until `deadline`.
  template <class Clock, class Duration>
  [[nodiscard]] bool wait_until(std::chrono::time_point<Clock, Duration> deadline) {
    enter_wait();
    return try_wait() || wait_slowly(detail::deadline_at(deadline));
  }

  /// `count_down(n)`, then `wait()`.
  /// Cancels: throws aramid::cancelled: on entry, with the count unchanged, or from the wait, with the arrival counted.
  void arrive_and_wait(std::ptrdiff_t n = 1) {
    enter_wait();
    count_down(n);
    if (!try_wait()) {
      (void)wait_slowly(time_point::max());
    }
  }

private:
  void count_down_to_zero(std::ptrdiff_t n) noexcept;
  bool wait_slowly(time_point deadline);

  detail::atomic<std::ptrdiff_t> count_;  // zero is written under the lock of waiters_
  detail::broadcast waiters_;
};

}  // namespace aramid::inline v0
