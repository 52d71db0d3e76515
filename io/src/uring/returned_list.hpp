// What peers give back and the owner takes, all of it at once: indices, linked through what they stand for.
//
// Whoever pushes has the only hold on the place, so it may write the link. Nobody takes a single one off: no ABA.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

#include <aramid/detail/atomics.hpp>

namespace aramid::inline v0::detail {

template <class Atomics = std_atomics>
class returned_list {
public:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

  /// `link(next)` writes what comes behind `index`.
  template <class Link>
  void push(std::uint32_t index, Link&& link) noexcept {
    std::uint32_t head = head_.load(std::memory_order_relaxed);
    do {
      link(head);
      // release: pairs with `take_all`, for the link and all that was written to the place before.
    } while (!head_.compare_exchange_weak(head, index, std::memory_order_release, std::memory_order_relaxed));
  }

  /// The owner. Returns: the last that was pushed, with the others behind it; or `none`.
  [[nodiscard]] std::uint32_t take_all() noexcept { return head_.exchange(none, std::memory_order_acquire); }

private:
  typename Atomics::template atomic<std::uint32_t> head_{none};
};

}  // namespace aramid::inline v0::detail
