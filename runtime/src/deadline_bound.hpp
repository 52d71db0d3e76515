// A lower bound of the deadlines in a timer wheel: what is looked at without the wheel's lock, at every turn of the scheduler and before
// every sleep. All else of the wheel is under the lock.
//
//   1. The owner of the wheel, who alone arms, lowers the bound under the lock.
//   2. Whoever fires, the owner or a peer that helps it, sets the bound to the earliest deadline that is left, under the same lock.
//   3. The owner reads it without. What it reads is its own last store or a later one. A later one was made under the lock after the
//      owner had armed, so it is a bound of all that is armed. Hence everything is relaxed: the owner overlooks no timer.
//
// Others may read what was true once. They only ask whether it is worth their while to take the lock.
#pragma once

#include <atomic>
#include <cstdint>

#include <aramid/detail/atomics.hpp>

namespace aramid::inline v0::detail {

template <class Atomics = std_atomics>
class deadline_bound {
public:
  /// If nothing is armed.
  static constexpr std::int64_t none = INT64_MAX;

  /// In ns. Any thread.
  [[nodiscard]] std::int64_t get() const noexcept { return ns_.load(std::memory_order_relaxed); }

  /// Under the wheel's lock, as is `set`.
  void lower_to(std::int64_t ns) noexcept {
    if (ns < get()) {
      set(ns);
    }
  }
  void set(std::int64_t ns) noexcept { ns_.store(ns, std::memory_order_relaxed); }

private:
  typename Atomics::template atomic<std::int64_t> ns_{none};
};

}  // namespace aramid::inline v0::detail
