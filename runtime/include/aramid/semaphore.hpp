// Semaphores for fibers and threads alike, in std's shape. Only the caller waits: a fiber suspends and leaves its thread
// to others, a thread sleeps.
//
//     counting_semaphore<> slots(10);
//     slots.acquire();                     // at most ten at a time
//     …
//     slots.release();
//
// As with aramid::mutex, a permit that is released can be taken by whoever comes by before the waiter that was woken for it,
// but a waiter that was too late several times in a row is given its permit. The protocol is in detail/semaphore_word.hpp.
#pragma once

#include <chrono>
#include <cstddef>

#include <aramid/detail/config.hpp>
#include <aramid/detail/deadline.hpp>
#include <aramid/detail/semaphore_word.hpp>
#include <aramid/detail/spin_lock.hpp>
#include <aramid/detail/wait_queue.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

namespace detail {

struct barging_waiter;

/// What is the same for every LeastMaxValue.
class ARAMID_API semaphore_base {
public:
  semaphore_base(const semaphore_base&) = delete;
  semaphore_base& operator=(const semaphore_base&) = delete;

  /// Takes a permit.
  /// Suspends: while there is none. Waiters are woken in the order of their calls.
  /// Cancels:  throws aramid::cancelled, and no permit has been taken. Once one has been given to the call, a
  ///           cancellation comes too late: the call returns with it.
  /// Ordering: everything before the `release` of the permit happens before the return.
  void acquire() {
    enter_wait();
    if (ARAMID_UNLIKELY(!word_.take(false))) {
      (void)acquire_slowly(time_point::max());
    }
  }

  /// Takes a permit if there is one.
  /// Suspends: never. Returns: true with a permit; it does not fail spuriously.
  /// Ordering: as `acquire`, if it returns true.
  [[nodiscard]] bool try_acquire() noexcept { return word_.take(false); }

  /// Takes a permit, unless that takes longer than `timeout`; one of zero or less tries once.
  /// Suspends: as `acquire`. Cancels: as `acquire`.
  /// Returns:  whether the caller now has a permit.
  /// Ordering: as `acquire`, if it returns true.
  template <class Rep, class Period>
  [[nodiscard]] bool try_acquire_for(std::chrono::duration<Rep, Period> timeout) {
    enter_wait();
    return try_acquire() || acquire_slowly(deadline_in(timeout));
  }

  /// Takes a permit, unless that takes until `deadline`. Otherwise as `try_acquire_for`.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_acquire_until(std::chrono::time_point<Clock, Duration> deadline) {
    enter_wait();
    return try_acquire() || acquire_slowly(deadline_at(deadline));
  }

protected:
  explicit semaphore_base(std::ptrdiff_t permits, std::ptrdiff_t max);
  ~semaphore_base() = default;

  void release_at_most(std::ptrdiff_t permits, std::ptrdiff_t max) noexcept {
    if (ARAMID_UNLIKELY(permits < 0 || permits > max - word_.permits())) {
      complain(permits);
    }
    if (ARAMID_UNLIKELY(!word_.give(static_cast<std::uint64_t>(permits), 0))) {
      release_slowly(static_cast<std::uint64_t>(permits));
    }
  }

private:
  bool acquire_slowly(time_point deadline);
  void release_slowly(std::uint64_t permits) noexcept;
  [[noreturn]] static void complain(std::ptrdiff_t permits) noexcept;

  semaphore_word<> word_;
  spin_lock queue_lock_;
  wait_queue<barging_waiter> queue_;  // under queue_lock_
};

}  // namespace detail

/// Lets at most so many in at a time as it has permits. Whoever releases a permit need not be who acquired it.
/// Owns:    nothing; it may be destroyed as soon as the last `release` has begun to hand its permits out.
/// Threads: any, fibers and others.
template <std::ptrdiff_t LeastMaxValue = detail::semaphore_word<>::max_permits>
class counting_semaphore : public detail::semaphore_base {
  static_assert(LeastMaxValue >= 0 && LeastMaxValue <= detail::semaphore_word<>::max_permits);

public:
  /// Throws: std::invalid_argument if `permits` is negative or more than `max()`.
  explicit counting_semaphore(std::ptrdiff_t permits) : semaphore_base(permits, LeastMaxValue) {}

  [[nodiscard]] static constexpr std::ptrdiff_t max() noexcept { return LeastMaxValue; }

  /// Gives `permits` back, or more than there were; so many waiters are woken. To exceed `max()` ends the program.
  /// Suspends: never.
  /// Ordering: everything before it happens before the return of the calls that get these permits.
  void release(std::ptrdiff_t permits = 1) noexcept { release_at_most(permits, LeastMaxValue); }
};

using binary_semaphore = counting_semaphore<1>;

}  // namespace aramid::inline v0
