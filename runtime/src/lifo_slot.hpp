// The place of the fiber that was woken last: it runs next, while what it was handed is still in the cache.
// One slot per worker.
//
// The owner puts and takes; a peer may steal what it has seen lie there for a while (worker.cpp says how long).
// Every way out is one read-modify-write, so an item has exactly one taker; release on the way in pairs with acquire on
// the way out.
#pragma once

#include <atomic>

#include <aramid/detail/atomics.hpp>

namespace aramid::inline v0::detail {

template <class T, class Atomics = std_atomics>
class lifo_slot {
public:
  /// Owner: puts `item` in and returns what it displaces, which is then the caller's to queue.
  T* put(T* item) noexcept {
    // Nobody else fills the slot, so one that is seen empty stays so: a store will do.
    if (slot_.load(std::memory_order_relaxed) == nullptr) {
      slot_.store(item, std::memory_order_release);
      return nullptr;
    }
    return slot_.exchange(item, std::memory_order_acq_rel);
  }

  /// Owner: takes the item, or nullptr.
  T* take() noexcept {
    // Relaxed: only the owner fills the slot, so an empty one is seen as empty.
    if (slot_.load(std::memory_order_relaxed) == nullptr) {
      return nullptr;
    }
    return slot_.exchange(nullptr, std::memory_order_acquire);
  }

  /// Any thread: what lies there now. Never to be dereferenced: the owner may take it meanwhile.
  [[nodiscard]] T* peek() const noexcept { return slot_.load(std::memory_order_relaxed); }

  /// Peer: takes `seen` if it still (or again) lies there.
  bool steal(T* seen) noexcept {
    return slot_.compare_exchange_strong(seen, nullptr, std::memory_order_acquire,
                                         std::memory_order_relaxed);
  }

private:
  typename Atomics::template atomic<T*> slot_{nullptr};
};

}  // namespace aramid::inline v0::detail
