// A queue of fibers that one worker fills and that it and its peers empty, from either end.
//
// `top_` is where the oldest item is, `bottom_` is behind the newest; the items lie in a circular array that doubles when it is full.
//
//   push            the owner, without the steal_lock: slot, then bottom (release: pairs with whoever takes; the first act of a
//                   push is to acquire top: a slot that was taken may be overwritten)
//   pop_oldest      whoever holds the steal_lock, owner or thief: bottom (acquire), slot, then top (release: pairs with push)
//   pop_newest      the owner, with the steal_lock
//   grow            the owner, with the steal_lock: nobody reads the array meanwhile
//
// So takers never meet, and pushes meet takers only over items that are complete. `size` may be asked by anybody.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "asymmetric_fence.hpp"

namespace aramid::inline v0::detail {

template <class T, class Atomics = asymmetric_atomics, std::size_t Capacity = 256>
class work_queue {
public:
  /// Throws: std::bad_alloc.
  work_queue() : slots_(new slot[Capacity]), mask_(Capacity - 1) {}

  /// Owner. False, and nothing done, if the array is full.
  bool try_push(T* item) noexcept {
    const std::uint64_t bottom = bottom_.load(std::memory_order_relaxed);
    if (bottom - top_.load(std::memory_order_acquire) > mask_) {
      return false;
    }
    slots_[bottom & mask_].store(item, std::memory_order_relaxed);
    bottom_.store(bottom + 1, std::memory_order_release);
    return true;
  }

  /// Owner, with the lock. Throws std::bad_alloc and is unchanged if there is no memory.
  void grow() {
    std::unique_ptr<slot[]> larger(new slot[2 * (mask_ + 1)]);
    const std::size_t mask = 2 * mask_ + 1;
    for (std::uint64_t i = top_.load(std::memory_order_relaxed);
         i != bottom_.load(std::memory_order_relaxed); ++i) {
      larger[i & mask].store(slots_[i & mask_].load(std::memory_order_relaxed),
                             std::memory_order_relaxed);
    }
    slots_ = std::move(larger);
    mask_ = mask;
  }

  /// With the lock. The oldest item, or nullptr.
  T* pop_oldest() noexcept {
    std::size_t left = 0;
    return pop_oldest(left);
  }
  /// The same, and says how many it has left behind.
  T* pop_oldest(std::size_t& left) noexcept {
    const std::uint64_t top = top_.load(std::memory_order_relaxed);
    const std::uint64_t bottom = bottom_.load(std::memory_order_acquire);
    if (top == bottom) {
      return nullptr;
    }
    T* const item = slots_[top & mask_].load(std::memory_order_relaxed);
    top_.store(top + 1, std::memory_order_release);
    left = bottom - top - 1;
    return item;
  }

  /// Owner, with the lock. The newest item, or nullptr.
  T* pop_newest() noexcept {
    const std::uint64_t bottom = bottom_.load(std::memory_order_relaxed);
    if (top_.load(std::memory_order_relaxed) == bottom) {
      return nullptr;
    }
    // Relaxed: the lock orders it for the next thief.
    bottom_.store(bottom - 1, std::memory_order_relaxed);
    return slots_[(bottom - 1) & mask_].load(std::memory_order_relaxed);
  }

  /// Any thread: how many there were at some moment. On the owner: at most as many as there are.
  [[nodiscard]] std::size_t size() const noexcept {
    const std::uint64_t top = top_.load(std::memory_order_relaxed);
    const std::uint64_t bottom = bottom_.load(std::memory_order_relaxed);
    return static_cast<std::int64_t>(bottom - top) > 0 ? bottom - top : 0;
  }

  /// Owner: the places in the order of the pushes, of the oldest item and behind the newest.
  [[nodiscard]] std::uint64_t first() const noexcept { return top_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t last() const noexcept { return bottom_.load(std::memory_order_relaxed); }

  /// Owner: how many more fit in.
  [[nodiscard]] std::size_t room() const noexcept { return mask_ + 1 - size(); }

  /// Owner: the item that is `places` behind the oldest, if there are as many. It may be stolen meanwhile: then it is one of before, or nullptr.
  [[nodiscard]] T* peek(std::size_t places) const noexcept {
    return slots_[(top_.load(std::memory_order_relaxed) + places) & mask_].load(
        std::memory_order_relaxed);
  }

private:
  using slot = typename Atomics::template atomic<T*>;

  typename Atomics::template atomic<std::uint64_t> top_{0};  // written by whoever takes the oldest
  typename Atomics::template atomic<std::uint64_t> bottom_{0};  // written by the owner
  std::unique_ptr<slot[]> slots_;  // changed by the owner with the lock
  std::size_t mask_;               // as slots_
};

}  // namespace aramid::inline v0::detail
