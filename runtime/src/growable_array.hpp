// The circular arrays under run_ring and spawn_deque: power-of-two sized, replaced by one twice as large when full. A replaced
// array is kept until the queue dies, because a thief may still read it; all of them together are
// smaller than the newest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <aramid/detail/atomics.hpp>

namespace aramid::inline v0::detail {

template <class T, class Atomics>
class growable_array {
public:
  explicit growable_array(std::size_t capacity) : mask_(capacity - 1), slots_(new slot[capacity]) {}

  [[nodiscard]] std::size_t capacity() const noexcept { return mask_ + 1; }

  // Relaxed: the queue's indices order the slots.
  [[nodiscard]] T* get(std::uint64_t index) const noexcept {
    return slots_[index & mask_].load(std::memory_order_relaxed);
  }
  void put(std::uint64_t index, T* item) noexcept {
    slots_[index & mask_].store(item, std::memory_order_relaxed);
  }

  /// Replaces `owned` by an array twice as large that keeps it and holds the same items at [first, last).
  /// Throws std::bad_alloc and changes nothing if there is no memory.
  static void grow(std::unique_ptr<growable_array>& owned, std::uint64_t first, std::uint64_t last) {
    auto next = std::make_unique<growable_array>(owned->capacity() * 2);
    for (std::uint64_t index = first; index != last; ++index) {
      next->put(index, owned->get(index));
    }
    next->replaced_ = std::move(owned);
    owned = std::move(next);
  }

private:
  using slot = typename Atomics::template atomic<T*>;

  std::size_t mask_;
  std::unique_ptr<slot[]> slots_;
  std::unique_ptr<growable_array> replaced_;
};

}  // namespace aramid::inline v0::detail
