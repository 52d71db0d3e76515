// Where fibers enter a runtime from outside of its workers, and where a full ring overflows to: an intrusive list
// under a lock, looked at by every worker once in a while and when it has nothing else. Its size is an atomic so
// that an empty queue costs a look and no lock.
//
//   1. push   links the item under the lock, and counts it (relaxed)
//   2.        then wakes a worker: by idle_set.hpp (P1 is the push; its fence is P2), or the only one, by driver_slot.hpp (N1)
//   3. pop    nothing counted: nothing there, without the lock. A worker that is about to sleep has looked like this after W3 or before
//             O2; so either it sees the item, or it is woken and looks again
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>

#include <aramid/detail/atomics.hpp>
#include <aramid/detail/spin_lock.hpp>

namespace aramid::inline v0::detail {

/// Items are linked through `next`, a pointer to Item or a base of it. The model checker brings its own lock.
template <class Item, class Atomics = std_atomics, class Lock = spin_lock>
class injection_queue {
public:
  void push(Item& item) noexcept {
    const std::lock_guard lock(lock_);
    item.next = nullptr;
    (last_ == nullptr ? first_ : last_->next) = &item;
    last_ = &item;
    size_.store(size_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  Item* pop() noexcept {
    if (empty()) {
      return nullptr;
    }
    const std::lock_guard lock(lock_);
    const link taken = first_;
    if (taken != nullptr) {
      first_ = taken->next;
      if (first_ == nullptr) {
        last_ = nullptr;
      }
      taken->next = nullptr;
      size_.store(size_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    }
    return static_cast<Item*>(taken);
  }

  // Relaxed: idle_set's fences order it where a wake depends on it.
  [[nodiscard]] bool empty() const noexcept { return size_.load(std::memory_order_relaxed) == 0; }

private:
  using link = decltype(Item::next);

  Lock lock_;
  link first_ = nullptr;  // under lock_, as is last_
  link last_ = nullptr;
  typename Atomics::template atomic<std::size_t> size_{0};  // written under lock_
};

}  // namespace aramid::inline v0::detail
