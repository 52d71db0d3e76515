// The word of a mutex. Three bits:
//
//   held       set by whoever takes the lock, cleared by the owner, or passed on with the lock in a hand-over
//   waiting    set exactly while the queue of waiters is not empty; changed under the queue's lock only
//   competing  a waiter has been woken and has neither taken the lock yet nor queued again. Set by an owner on its way
//              out, cleared by that waiter. One at a time: while it is set no other waiter is woken, or a fast
//              owner would empty the queue for a lock that only one of them can have.
//
// Lock:    1. `lock_free`: one exchange from 0 to `held`.
//          2. Else `take`: an exchange that keeps the other bits, while `held` is clear. This is barging.
//          3. Else, under the queue's lock, `take_or_wait`: look again, and in the same exchange that finds `held` set, set
//             `waiting` (and clear `competing`, if this waiter was the competitor). Then queue: in front if it
//             competed, so that it keeps its turn. Whoever holds the lock sees `waiting` when it
//             unlocks, and the queue's lock makes it wait for the queuing: the wake cannot be lost.
// Unlock:  1. `unlock_free`: one exchange from `held` to 0, which fails if anybody waits or competes.
//          2. `unlock_unless_waiting`: clear `held` and leave, if nobody waits or somebody competes already.
//          3. Else, still the owner, under the queue's lock: claim the first waiter. If all have left, `nobody_waits`
//             and back to 2: somebody may queue until `held` is clear, and nobody else would wake him.
//          4. `settle`. If that waiter has lost too often it is the owner from now on: `held` stays set. Else it
//             becomes the competitor; unlock the queue, and only then `let_go` clears `held`, as the last touch: the
//             next owner may destroy the mutex. Its wake is delivered after that; it does not need the mutex.
//
// A waiter that leaves the queue by cancellation or deadline has not been claimed, so it has neither the lock nor the
// duty to compete: it has nothing to pass on, and clears `waiting` if it was the last.
#pragma once

#include <atomic>
#include <cstdint>

#include <aramid/detail/atomics.hpp>
#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

template <class Atomics = std_atomics>
class mutex_word {
public:
  constexpr mutex_word() noexcept = default;

  bool lock_free() noexcept {
    std::uint32_t expected = 0;
    // acquire, here and below: pairs with the release of the owner before.
    return state_.compare_exchange_strong(expected, held, std::memory_order_acquire,
                                          std::memory_order_relaxed);
  }

  bool take(bool competed) noexcept {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    while ((state & held) == 0) {
      if (state_.compare_exchange_weak(state, (state | held) & ~(competed ? competing : 0),
                                       std::memory_order_acquire, std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  /// Under the queue's lock. Returns true with the lock held; false if the caller has to queue.
  bool take_or_wait(bool competed) noexcept {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    for (;;) {
      const bool free = (state & held) == 0;
      const std::uint32_t next = (state | (free ? held : waiting)) & ~(competed ? competing : 0);
      if (state_.compare_exchange_weak(state, next, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
        return free;
      }
    }
  }

  /// Under the queue's lock, by whoever has left it empty. Returns the state after it.
  std::uint32_t nobody_waits() noexcept {
    // relaxed: the bit says only that the queue, which has its own lock, is worth a look.
    return state_.fetch_and(~waiting, std::memory_order_relaxed) & ~waiting;
  }

  /// If it fails, `state` is what was found in place of `held` alone.
  bool unlock_free(std::uint32_t& state) noexcept {
    state = held;
    // release, here and below: pairs with the acquire of the next owner.
    return state_.compare_exchange_strong(state, 0, std::memory_order_release,
                                          std::memory_order_relaxed);
  }

  /// Returns false, with the lock still held, if a waiter has to be woken.
  bool unlock_unless_waiting(std::uint32_t state) noexcept {
    while ((state & waiting) == 0 || (state & competing) != 0) {
      if (state_.compare_exchange_weak(state, state & ~held, std::memory_order_release,
                                       std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  /// The owner, under the queue's lock, after it has taken a waiter out.
  void settle(bool more_wait, bool made_competitor) noexcept {
    // A plain store will do: nobody competes, `waiting` belongs to the queue's lock, and `held` to the owner.
    state_.store(held | (more_wait ? waiting : 0) | (made_competitor ? competing : 0),
                 std::memory_order_relaxed);
  }

  /// The owner, as its last touch.
  void let_go() noexcept { state_.fetch_and(~held, std::memory_order_release); }

  [[nodiscard]] static constexpr bool is_held(std::uint32_t state) noexcept {
    return (state & held) != 0;
  }

private:
  static constexpr std::uint32_t held = 1;
  static constexpr std::uint32_t waiting = 2;
  static constexpr std::uint32_t competing = 4;

  typename Atomics::template atomic<std::uint32_t> state_{0};
};

}  // namespace aramid::inline v0::detail
