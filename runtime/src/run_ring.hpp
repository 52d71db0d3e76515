// The queue of woken fibers: first in, first out. Its owner pushes and pops; peers steal half.
//
// `top_` is where items leave, `bottom_` where they come; both only grow. The owner writes `bottom_`; whoever takes
// items, owner or thief, moves `top_` by CAS.
//
//   push   1. top (acquire: pairs with the CAS of takers; a slot that was taken may be overwritten)
//          2. slot, then bottom (release: pairs with the thief's acquire; it sees slots and a replaced array)
//   pop    3. slot at top, then CAS top→top+1. Relaxed: the owner wrote all it reads.
//   steal  4. top (acquire), bottom (acquire), array (acquire, after bottom: an item that was pushed after the array grew is
//             looked for in the new one), slots [top, top+n), and then CAS top→top+n.
//
// A thief reads before it wins. If its CAS succeeds, top had not moved, so nobody took these items and the owner, who
// overwrites a slot only once top has passed it, did not reuse their slots; if it fails, what was read is thrown
// away. Hence one CAS steals a whole batch, and no second "being stolen" index is needed as in tokio's ring.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <aramid/detail/atomics.hpp>

#include "growable_array.hpp"

namespace aramid::inline v0::detail {

template <class T, class Atomics = std_atomics, std::size_t Capacity = 256>
class run_ring {
public:
  /// The most a thief takes at once: more would only move the imbalance.
  static constexpr std::size_t steal_limit = 32;

  run_ring() : owned_(std::make_unique<array>(Capacity)) {
    array_.store(owned_.get(), std::memory_order_relaxed);
  }

  /// Owner. May allocate when full; throws std::bad_alloc and is unchanged if that fails.
  void push(T* item) {
    if (!try_push(item)) {
      grow();
      (void)try_push(item);
    }
  }

  /// Owner. False, and nothing done, if the ring is full.
  bool try_push(T* item) noexcept {
    const std::uint64_t bottom = bottom_.load(std::memory_order_relaxed);
    const std::uint64_t top = top_.load(std::memory_order_acquire);
    if (bottom - top >= owned_->capacity()) {
      return false;
    }
    owned_->put(bottom, item);
    bottom_.store(bottom + 1, std::memory_order_release);
    return true;
  }

  /// Owner. The oldest item, or nullptr.
  T* pop() noexcept {
    const std::uint64_t bottom = bottom_.load(std::memory_order_relaxed);
    std::uint64_t top = top_.load(std::memory_order_relaxed);
    while (top != bottom) {
      T* const item = owned_->get(top);
      if (top_.compare_exchange_weak(top, top + 1, std::memory_order_relaxed,
                                     std::memory_order_relaxed)) {
        return item;
      }
    }
    return nullptr;
  }

  /// Peer. Takes the older half, at most `steal_limit`: returns the oldest and pushes the others into `into`,
  /// the caller's own ring. nullptr if there was nothing or another taker came first.
  T* steal(run_ring& into) {
    const std::uint64_t top = top_.load(std::memory_order_acquire);
    const std::uint64_t bottom = bottom_.load(std::memory_order_acquire);
    // A stale bottom may lie before top.
    if (static_cast<std::int64_t>(bottom - top) <= 0) {
      return nullptr;
    }
    const array* const slots = array_.load(std::memory_order_acquire);
    // No more than `into` has room for: once won, the items must not meet a failing allocation.
    const std::uint64_t room = into.owned_->capacity() - into.size() + 1;
    const std::uint64_t count =
        std::min({(bottom - top + 1) / 2, static_cast<std::uint64_t>(steal_limit), room});
    T* taken[steal_limit];
    for (std::uint64_t i = 0; i != count; ++i) {
      taken[i] = slots->get(top + i);
    }
    std::uint64_t expected = top;
    // release: the reads above come before the owner, who acquires top, overwrites the slots.
    if (!top_.compare_exchange_strong(expected, top + count, std::memory_order_release,
                                      std::memory_order_relaxed)) {
      return nullptr;
    }
    for (std::uint64_t i = 1; i != count; ++i) {
      into.push(taken[i]);
    }
    return taken[0];
  }

  /// Any thread: how many there were at some moment. Exact on the owner when nobody steals.
  [[nodiscard]] std::size_t size() const noexcept {
    const std::uint64_t top = top_.load(std::memory_order_relaxed);
    const std::uint64_t bottom = bottom_.load(std::memory_order_relaxed);
    return static_cast<std::int64_t>(bottom - top) > 0 ? bottom - top : 0;
  }

private:
  using array = growable_array<T, Atomics>;

  void grow() {
    array::grow(owned_, top_.load(std::memory_order_acquire), bottom_.load(std::memory_order_relaxed));
    // release: pairs with the thief's acquire.
    array_.store(owned_.get(), std::memory_order_release);
  }

  // Takers and the owner write on lines of their own.
  alignas(64) typename Atomics::template atomic<std::uint64_t> top_{0};
  alignas(64) typename Atomics::template atomic<std::uint64_t> bottom_{0};
  std::unique_ptr<array> owned_;  // the owner's view of array_
  typename Atomics::template atomic<array*> array_{nullptr};
};

}  // namespace aramid::inline v0::detail
