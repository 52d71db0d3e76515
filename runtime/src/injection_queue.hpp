// Where fibers enter a runtime from outside of its workers, and where a full ring overflows to: an intrusive list
// under a lock, looked at by every worker once in a while and when it has nothing else. Its size is an atomic so
// that an empty queue costs a look and no lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>

#include <aramid/detail/spin_lock.hpp>

#include "fiber_control.hpp"

namespace aramid::inline v0::detail {

class injection_queue {
public:
  void push(fiber_control& fiber) noexcept {
    const std::lock_guard lock(lock_);
    fiber.next = nullptr;
    (last_ == nullptr ? first_ : last_->next) = &fiber;
    last_ = &fiber;
    size_.store(size_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  fiber_control* pop() noexcept {
    if (empty()) {
      return nullptr;
    }
    const std::lock_guard lock(lock_);
    waiter* const taken = first_;
    if (taken != nullptr) {
      first_ = taken->next;
      if (first_ == nullptr) {
        last_ = nullptr;
      }
      taken->next = nullptr;
      size_.store(size_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    }
    return static_cast<fiber_control*>(taken);
  }

  // Relaxed: idle_set's fences order it where a wake depends on it.
  [[nodiscard]] bool empty() const noexcept { return size_.load(std::memory_order_relaxed) == 0; }

private:
  spin_lock lock_;
  waiter* first_ = nullptr;  // under lock_, as is last_
  waiter* last_ = nullptr;
  std::atomic<std::size_t> size_{0};  // written under lock_
};

}  // namespace aramid::inline v0::detail
