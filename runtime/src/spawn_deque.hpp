// The queue of fibers that have not started: a Chase–Lev deque. Its owner pushes and takes the newest, so that a tree
// of fibers runs depth first on few stacks (DESIGN §4 has the figures); thieves take the oldest, which are the
// largest pieces of such a tree. Every so often the owner takes the oldest too, so that nothing waits for ever.
//
// Orders as in Lê, Pop, Cohen, Zappa Nardelli, "Correct and Efficient Work-Stealing for Weak Memory Models" (PPoPP 2013).
// Only the owner writes `bottom_`; whoever takes the last item or steals moves `top_` by CAS.
//
//   push         1. slot, then bottom (release: pairs with the thief's acquire)
//   pop_newest   2. bottom-1 (release, as in 1), seq_cst fence (pairs with the fence in 3: either the thief sees the smaller bottom, or we see
//                   its larger top), top; the last item is fought for with a CAS on top
//   take_oldest  3. top (acquire), seq_cst fence (pairs with 2), bottom (acquire: pairs with 1), array (acquire), slot, CAS top
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <aramid/detail/atomics.hpp>

#include "growable_array.hpp"

namespace aramid::inline v0::detail {

template <class T, class Atomics = std_atomics, std::size_t Capacity = 256>
class spawn_deque {
public:
  spawn_deque() : owned_(std::make_unique<array>(Capacity)) {
    array_.store(owned_.get(), std::memory_order_relaxed);
  }

  /// Owner. May allocate when full; throws std::bad_alloc and is unchanged if that fails.
  void push(T* item) {
    const std::uint64_t bottom = bottom_.load(std::memory_order_relaxed);
    // acquire: pairs with the CAS of takers; a slot that was taken may be overwritten.
    const std::uint64_t top = top_.load(std::memory_order_acquire);
    if (bottom - top >= owned_->capacity()) {
      array::grow(owned_, top, bottom);
      // release: pairs with the thief's acquire.
      array_.store(owned_.get(), std::memory_order_release);
    }
    owned_->put(bottom, item);
    bottom_.store(bottom + 1, std::memory_order_release);
  }

  /// Owner. The newest item, or nullptr.
  T* pop_newest() noexcept {
    const std::uint64_t bottom = bottom_.load(std::memory_order_relaxed);
    // An empty deque is left alone without the fence: top only grows, so empty is seen as empty.
    if (top_.load(std::memory_order_relaxed) == bottom) {
      return nullptr;
    }
    // release: a thief that reads this bottom instead of the one push stored must still see the slots below it. (Push's
    // release does not reach it: since C++20 a release sequence no longer runs through plain stores, P0982.)
    bottom_.store(bottom - 1, std::memory_order_release);
    Atomics::fence(std::memory_order_seq_cst);
    std::uint64_t top = top_.load(std::memory_order_relaxed);
    if (top == bottom) {  // a thief took the last one
      bottom_.store(bottom, std::memory_order_relaxed);
      return nullptr;
    }
    T* const item = owned_->get(bottom - 1);
    if (top != bottom - 1) {
      return item;
    }
    const bool won = top_.compare_exchange_strong(top, top + 1, std::memory_order_relaxed,
                                                  std::memory_order_relaxed);
    bottom_.store(bottom, std::memory_order_relaxed);
    return won ? item : nullptr;
  }

  /// Any thread. The oldest item; nullptr if there is none or another taker came first.
  T* take_oldest() noexcept {
    std::uint64_t top = top_.load(std::memory_order_acquire);
    Atomics::fence(std::memory_order_seq_cst);
    const std::uint64_t bottom = bottom_.load(std::memory_order_acquire);
    if (static_cast<std::int64_t>(bottom - top) <= 0) {
      return nullptr;
    }
    T* const item = array_.load(std::memory_order_acquire)->get(top);
    // release: the read of the slot comes before the owner, who acquires top in push, overwrites it.
    return top_.compare_exchange_strong(top, top + 1, std::memory_order_release,
                                        std::memory_order_relaxed)
               ? item
               : nullptr;
  }

  /// Any thread: how many there were at some moment.
  [[nodiscard]] std::size_t size() const noexcept {
    const std::uint64_t top = top_.load(std::memory_order_relaxed);
    const std::uint64_t bottom = bottom_.load(std::memory_order_relaxed);
    return static_cast<std::int64_t>(bottom - top) > 0 ? bottom - top : 0;
  }

private:
  using array = growable_array<T, Atomics>;

  alignas(64) typename Atomics::template atomic<std::uint64_t> top_{0};
  alignas(64) typename Atomics::template atomic<std::uint64_t> bottom_{0};
  std::unique_ptr<array> owned_;  // the owner's view of array_
  typename Atomics::template atomic<array*> array_{nullptr};
};

}  // namespace aramid::inline v0::detail
