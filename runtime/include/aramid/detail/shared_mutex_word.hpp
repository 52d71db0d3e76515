// The word of a mutex that many may share. Four fields:
//
//   readers    how many hold it shared
//   writer     somebody holds it alone; then there are no readers
//   waiting    set exactly while the queue of waiters is not empty; changed under the queue's lock only
//   competing  a waiting writer has been woken and has neither taken the lock yet nor queued again. One at a time, and while it is set
//              nobody else is woken.
//
// Readers do not pass anybody who waits, or writers would starve; they queue behind. So those that are woken together are those at
// the front of the queue, up to the first writer; they are handed their shares and need not compete. A writer competes
// with other writers, and is handed the lock when it has been too late several times (as mutex_word.hpp, which says why).
//
// Lock:          1. `lock_free` / `share`: one exchange.
//                2. Else, under the queue's lock, `take_or_wait` / `share_or_wait`: look again, and in the same exchange that finds
//                   that the caller has to wait set `waiting` (and clear `competing`, if it competed). Then queue: in front if it
//                   competed, else at the end.
// Unlock:        1. `unlock_free`, `unlock_unless_waiting`: leave, if nobody waits or somebody competes already.
//                2. Else, still the owner, under the queue's lock: claim whoever is in front. If all have left, `nobody_waits`, and
//                   back to 1: somebody may queue until the caller has left.
//                3. Readers in front: `make_way` for as many as can be claimed before the next writer; the caller has left.
//                   A writer in front: `settle`. If it has lost too often it is the owner from now on; else it becomes the competitor:
//                   unlock the queue, and only then `let_go`, as the last touch.
//                4. Deliver the wakes; they do not need the mutex.
// Unlock shared: 1. `unshare`: leave, if others are still in, nobody waits or somebody competes already.
//                2. Else, still in, under the queue's lock: if the caller is not alone after all, back to 1. Claim as above.
//                3. A writer in front: as above, with `settle_shared` and `let_go_shared`.
//                   Readers in front (a writer before them has given up): `admit` them, and back to 1.
//                4. As above.
//
// The queue's lock and `waiting` together keep the word still for those who are in step 2 and 3: a new reader is turned away by
// `waiting`, a writer by the owner who is still in, and all else needs that lock.
//
// A waiter that leaves the queue by cancellation or deadline has not been claimed and owes nobody a lock. But a writer that gives up may
// have kept readers behind it from sharing with those that are in, who may not leave for long: if readers are in front now and
// others in (`join`), it admits them.
#pragma once

#include <atomic>
#include <cstdint>

#include <aramid/detail/atomics.hpp>
#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

template <class Atomics = std_atomics>
class shared_mutex_word {
public:
  constexpr shared_mutex_word() noexcept = default;

  // --- alone ---------------------------------------------------------------------------------------------------------

  bool lock_free() noexcept {
    std::uint32_t expected = 0;
    // acquire, here and below: pairs with the release of the owners before.
    return state_.compare_exchange_strong(expected, writer, std::memory_order_acquire, std::memory_order_relaxed);
  }

  bool take(bool competed) noexcept {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    while (state < reader && (state & writer) == 0) {
      if (state_.compare_exchange_weak(state, (state | writer) & ~(competed ? competing : 0), std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  /// Under the queue's lock. Returns true with the lock held; false if the caller has to queue.
  bool take_or_wait(bool competed) noexcept {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    for (;;) {
      const bool free = state < reader && (state & writer) == 0;
      const std::uint32_t next = (state | (free ? writer : waiting)) & ~(competed ? competing : 0);
      if (state_.compare_exchange_weak(state, next, std::memory_order_acquire, std::memory_order_relaxed)) {
        return free;
      }
    }
  }

  /// If it fails, `state` is what was found in place of `writer` alone.
  bool unlock_free(std::uint32_t& state) noexcept {
    state = writer;
    // release, here and below: pairs with the acquire of the next owners.
    return state_.compare_exchange_strong(state, 0, std::memory_order_release, std::memory_order_relaxed);
  }

  /// Returns false, with the lock still held, if a waiter has to be woken.
  bool unlock_unless_waiting(std::uint32_t state) noexcept {
    while ((state & waiting) == 0 || (state & competing) != 0) {
      if (state_.compare_exchange_weak(state, state & ~writer, std::memory_order_release, std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  /// The writer, as its last touch.
  void let_go() noexcept { state_.fetch_and(~writer, std::memory_order_release); }

  // --- shared --------------------------------------------------------------------------------------------------------

  bool share() noexcept {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    while ((state & (writer | waiting)) == 0 && state < most_readers) {
      if (state_.compare_exchange_weak(state, state + reader, std::memory_order_acquire, std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  /// Under the queue's lock. Returns true with a share; false if the caller has to queue.
  bool share_or_wait() noexcept {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    for (;;) {
      const bool free = (state & (writer | waiting)) == 0 && state < most_readers;
      const std::uint32_t next = free ? state + reader : state | waiting;
      if (state_.compare_exchange_weak(state, next, std::memory_order_acquire, std::memory_order_relaxed)) {
        return free;
      }
    }
  }

  /// Returns false, with the share still held, if it is the last and a waiter has to be woken.
  bool unshare() noexcept {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    while (state >= 2 * reader || (state & waiting) == 0 || (state & competing) != 0) {
      if (state_.compare_exchange_weak(state, state - reader, std::memory_order_release, std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  /// A reader, as its last touch. Somebody competes.
  void let_go_shared() noexcept { state_.fetch_sub(reader, std::memory_order_release); }

  // --- under the queue's lock -----------------------------------------------------------------------------------------

  /// By whoever has left the queue empty. Returns the state after it.
  std::uint32_t nobody_waits() noexcept {
    // relaxed: the bit says only that the queue, which has its own lock, is worth a look.
    return state_.fetch_and(~waiting, std::memory_order_relaxed) & ~waiting;
  }

  /// The writer, that has taken a writer out of the queue, who becomes the owner or the competitor.
  void settle(bool more_wait, bool made_competitor) noexcept {
    state_.store(writer | rest(more_wait, made_competitor), std::memory_order_relaxed);
  }

  /// The writer, that has taken `readers` out of the queue, gives them the lock.
  void make_way(std::uint32_t readers, bool more_wait) noexcept {
    state_.store(readers * reader | rest(more_wait, false), std::memory_order_release);
  }

  /// Whether the caller, who is a reader, is the only one.
  [[nodiscard]] bool is_only_reader() const noexcept { return state_.load(std::memory_order_relaxed) < 2 * reader; }

  /// The only reader, that has taken a writer out of the queue, who becomes the owner in its place, or the competitor.
  void settle_shared(bool more_wait, bool made_competitor) noexcept {
    // acquire: the word is all that orders an owner that is made here after the readers that left before.
    state_.exchange((made_competitor ? reader : writer) | rest(more_wait, made_competitor), std::memory_order_acquire);
  }

  /// A reader, that has taken `readers` out of the queue, lets them in.
  void admit(std::uint32_t readers, bool more_wait) noexcept {
    // relaxed: the caller, who delivers their wakes, comes after the writers before, and so do they.
    state_.fetch_add(readers * reader, std::memory_order_relaxed);
    if (!more_wait) {
      nobody_waits();
    }
  }

  /// Takes a share if others have one.
  bool join() noexcept {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    while (state >= reader && state < most_readers) {
      if (state_.compare_exchange_weak(state, state + reader, std::memory_order_acquire, std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  [[nodiscard]] static constexpr bool is_held_alone(std::uint32_t state) noexcept { return (state & writer) != 0; }

private:
  static constexpr std::uint32_t writer = 1;
  static constexpr std::uint32_t waiting = 2;
  static constexpr std::uint32_t competing = 4;
  static constexpr std::uint32_t reader = 8;  // one of them
  // With room for those that are admitted together.
  static constexpr std::uint32_t most_readers = std::uint32_t{1} << 31;

  static constexpr std::uint32_t rest(bool more_wait, bool made_competitor) noexcept {
    return (more_wait ? waiting : 0) | (made_competitor ? competing : 0);
  }

  typename Atomics::template atomic<std::uint32_t> state_{0};
};

}  // namespace aramid::inline v0::detail
