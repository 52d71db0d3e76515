// The word of a semaphore. Three fields:
//
//   permits    those that anybody may take
//   competing  how many waiters have been woken and have neither taken a permit yet nor queued again
//   waiting    set exactly while the queue of waiters is not empty; changed under the queue's lock only
//
// Invariant: while anybody waits there are at least as many competitors as permits. So no permit lies about while a waiter sleeps
// whom nobody will wake: each is about to be looked for by somebody who is awake.
//
// Acquire: 1. `take`: one exchange that takes a permit if there is one. This is barging. It keeps the invariant, as
//             does a competitor that takes one: both counts go down.
//          2. Else, under the queue's lock, `take_or_wait`: look again, and in the same exchange that finds no permit set
//             `waiting` (and count the caller out of `competing`, if it competed). Then queue: in front if it competed, so that it
//             keeps its turn.
// Release: 1. `give_free`: add the permits and leave, if nobody waits or enough compete already.
//          2. Else, under the queue's lock, claim a waiter for each permit. One that has lost too often gets its permit
//             at once, and that permit never enters the word. If the queue is empty after that, `nobody_waits`.
//          3. `give`: add what is left, permits and competitors in one exchange, which is the last touch: whoever takes the
//             last permit may destroy the semaphore. It fails if the invariant would not hold, because somebody has queued
//             since step 2: then back to it.
//          4. Deliver the wakes; they do not need the semaphore.
//
// A waiter that leaves the queue by cancellation or deadline has not been claimed, so it has neither a permit nor the duty
// to compete: it has nothing to pass on, and clears `waiting` if it was the last.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <aramid/detail/atomics.hpp>
#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

template <class Atomics = std_atomics>
class semaphore_word {
public:
  static constexpr std::ptrdiff_t max_permits = (std::ptrdiff_t{1} << 38) - 1;

  constexpr explicit semaphore_word(std::ptrdiff_t permits) noexcept
      : state_(static_cast<std::uint64_t>(permits) << permit_shift) {}

  /// Takes a permit if there is one. `competed`: the caller was woken for one.
  bool take(bool competed) noexcept {
    std::uint64_t state = state_.load(std::memory_order_relaxed);
    while (permits_of(state) != 0) {
      // acquire, here and below: pairs with the release of whoever gave the permit.
      if (state_.compare_exchange_weak(state, state - permit - (competed ? competitor : 0),
                                       std::memory_order_acquire, std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  /// Under the queue's lock. Returns true with a permit; false if the caller has to queue.
  bool take_or_wait(bool competed) noexcept {
    std::uint64_t state = state_.load(std::memory_order_relaxed);
    for (;;) {
      const bool any = permits_of(state) != 0;
      const std::uint64_t next = (any ? state - permit : state | waiting) - (competed ? competitor : 0);
      if (state_.compare_exchange_weak(state, next, std::memory_order_acquire, std::memory_order_relaxed)) {
        return any;
      }
    }
  }

  /// Under the queue's lock, by whoever has left it empty.
  void nobody_waits() noexcept {
    // relaxed: the bit says only that the queue, which has its own lock, is worth a look.
    state_.fetch_and(~waiting, std::memory_order_relaxed);
  }

  /// Gives `permits` away, and lets `woken` more compete for them.
  /// Returns: false, with nothing done, if more waiters have to be woken first.
  bool give(std::uint64_t permits, std::uint64_t woken) noexcept {
    std::uint64_t state = state_.load(std::memory_order_relaxed);
    for (;;) {
      if ((state & waiting) != 0 && competitors_of(state) + woken < permits_of(state) + permits) {
        return false;
      }
      // release: pairs with the acquire of whoever takes one.
      if (state_.compare_exchange_weak(state, state + permits * permit + woken * competitor,
                                       std::memory_order_release, std::memory_order_relaxed)) {
        return true;
      }
    }
  }

  [[nodiscard]] std::ptrdiff_t permits() const noexcept {
    return static_cast<std::ptrdiff_t>(permits_of(state_.load(std::memory_order_relaxed)));
  }

private:
  static constexpr std::uint64_t waiting = 1;
  static constexpr std::uint64_t competitor = 2;
  static constexpr int permit_shift = 25;
  static constexpr std::uint64_t permit = std::uint64_t{1} << permit_shift;

  static constexpr std::uint64_t permits_of(std::uint64_t state) noexcept { return state >> permit_shift; }
  static constexpr std::uint64_t competitors_of(std::uint64_t state) noexcept {
    return (state & (permit - 1)) / competitor;
  }

  typename Atomics::template atomic<std::uint64_t> state_;
};

}  // namespace aramid::inline v0::detail
