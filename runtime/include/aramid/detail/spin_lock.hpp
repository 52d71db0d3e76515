// A lock for a few instructions that never suspend: the wait lists of the primitives, a timer heap. Its release is a
// plain store, which is why it is not a futex: an uncontended lock and unlock cost one read-modify-write together.
//
// Who finds it taken stays away from it for longer each time, 32 to 512 pauses (1 to 20 us). That is far longer than it is
// held, on purpose: its cache line, and those that it guards, then stay with one CPU for many operations in a row
// instead of moving with each. A holder that loses its CPU is waited for with sched_yield.
#pragma once

#include <sched.h>

#include <atomic>

#include <aramid/detail/atomics.hpp>
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
  [[gnu::noinline]] void wait() noexcept {
    int pauses = 32;
    do {
      if (pauses <= 512) {
        for (int i = 0; i != pauses; ++i) {
          std_atomics::pause();
        }
        pauses *= 2;
      } else {
        sched_yield();
      }
    } while (locked_.load(std::memory_order_relaxed));
  }

  std::atomic<bool> locked_{false};
};

}  // namespace aramid::inline v0::detail
