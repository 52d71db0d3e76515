// Steps 1 to 3 of doorbell.hpp: who has rung, and whether that takes more than a word.
#pragma once

#include <atomic>
#include <cstdint>

#include <aramid/detail/atomics.hpp>

namespace aramid::inline v0::detail {

template <class Atomics = std_atomics>
class doorbell_word {
public:
  /// Step 1. Returns: whether the worker sleeps, and somebody has to wake it.
  /// release: pairs with the acquires of steps 2 and 3, for what was written before.
  [[nodiscard]] bool ring() noexcept { return word_.exchange(rung, std::memory_order_release) == asleep; }

  /// Step 2. Returns: whether to sleep.
  /// relaxed: whoever rings later finds `asleep` whatever else it sees, and what was written before a ring that came earlier is seen by the
  /// exchange. Not a store: it must see what a second ringer wrote before it rang.
  [[nodiscard]] bool begin_sleep() noexcept {
    std::uint32_t word = awake;
    if (word_.compare_exchange_strong(word, asleep, std::memory_order_relaxed)) {
      return true;
    }
    word_.exchange(awake, std::memory_order_acquire);
    return false;
  }

  /// Step 3. An exchange for the same reason.
  void end_sleep() noexcept { word_.exchange(awake, std::memory_order_acquire); }

  /// A hint: it may end at any moment.
  [[nodiscard]] bool is_asleep() const noexcept { return word_.load(std::memory_order_relaxed) == asleep; }

protected:
  // Broken twins use these.
  static constexpr std::uint32_t awake = 0;
  static constexpr std::uint32_t asleep = 1;
  static constexpr std::uint32_t rung = 2;

  typename Atomics::template atomic<std::uint32_t> word_{awake};
};

}  // namespace aramid::inline v0::detail
