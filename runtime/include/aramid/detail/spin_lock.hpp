// A lock for a few instructions that never suspend: the wait lists of the primitives, a timer heap. Its release is a
// plain store, which is why it is not a futex: an uncontended lock and unlock cost one read-modify-write together.
// A holder that loses its CPU is waited for with sched_yield.
#pragma once

#include <sched.h>

#include <atomic>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

class spin_lock {
public:
  void lock() noexcept {
    // acquire: pairs with the release in `unlock`.
    while (ARAMID_UNLIKELY(locked_.exchange(true, std::memory_order_acquire))) {
      wait();
    }
  }

  [[nodiscard]] bool try_lock() noexcept {
    return !locked_.load(std::memory_order_relaxed) &&
           !locked_.exchange(true, std::memory_order_acquire);
  }

  /// Its store is the last touch: whoever locks next may free the memory.
  void unlock() noexcept { locked_.store(false, std::memory_order_release); }

  /// Whether nobody holds it now. acquire: pairs with `unlock`.
  [[nodiscard]] bool is_free() const noexcept { return !locked_.load(std::memory_order_acquire); }

private:
  void wait() noexcept {
    for (int spins = 0; locked_.load(std::memory_order_relaxed); ++spins) {
      if (spins < 64) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
      } else {
        sched_yield();
      }
    }
  }

  std::atomic<bool> locked_{false};
};

}  // namespace aramid::inline v0::detail
