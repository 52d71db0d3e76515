#include "futex_driver.hpp"

#include "futex.hpp"

namespace aramid::inline v0::detail {

void futex_driver::poll(time_point deadline, wake_batch&) noexcept {
  std::uint32_t expected = awake;
  // acq_rel, acquire: pair with the release in wake; what the waker published is seen after a notified poll.
  if (deadline > clock::time_point::min() &&
      state_.compare_exchange_strong(expected, asleep, std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
    while (state_.load(std::memory_order_acquire) == asleep) {
      futex_wait(&state_, asleep, deadline);
      if (deadline != time_point::max() && now() >= deadline) {
        break;
      }
    }
  }
  state_.exchange(awake, std::memory_order_acq_rel);
}

void futex_driver::wake() noexcept {
  if (state_.exchange(notified, std::memory_order_acq_rel) == asleep) {
    futex_wake(&state_);
  }
}

}  // namespace aramid::inline v0::detail
