// Requests to cancel that a peer leaves for the owner of a ring, where the kernel has no call to
// cancel on somebody else's ring (IORING_REGISTER_SYNC_CANCEL, Linux 6.0, or forbidden by ring
// restrictions).
//
// It holds tickets by value, so a request may outlive its operation: the kernel then finds nothing.
// It may also drop one when it is
// full: who asked asks again (operation.hpp, step 7).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include <aramid/detail/spin_lock.hpp>

namespace aramid::inline v0::detail {

class cancel_mailbox {
public:
  /// Threads: any.
  void put(std::uint64_t ticket) noexcept {
    const std::lock_guard guard(lock_);
    const std::size_t count = count_.load(std::memory_order_relaxed);
    if (count < tickets_.size()) {
      tickets_[count] = ticket;
      count_.store(count + 1, std::memory_order_relaxed);
    }
  }

  /// The owner's. A `put` before a wake-up is seen by the `empty` after it.
  [[nodiscard]] bool empty() const noexcept { return count_.load(std::memory_order_relaxed) == 0; }

  /// Hands every ticket to `cancel`, which must not call back. The owner's.
  template <class Cancel>
  void take_all(Cancel&& cancel) noexcept {
    const std::lock_guard guard(lock_);
    const std::size_t count = count_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < count; ++i) {
      cancel(tickets_[i]);
    }
    count_.store(0, std::memory_order_relaxed);
  }

private:
  spin_lock lock_;
  std::atomic<std::size_t> count_{0};  // written under lock_
  std::array<std::uint64_t, 64> tickets_{};
};

}  // namespace aramid::inline v0::detail
