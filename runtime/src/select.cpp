// `select` for the product: its loop (select_loop.hpp) begins at a random case.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include <aramid/detail/select_case.hpp>
#include <aramid/fiber.hpp>

#include "fiber_control.hpp"
#include "select_loop.hpp"
#include "thread_state.hpp"
#include "worker.hpp"

namespace aramid::inline v0::detail {

namespace {

std::size_t random_below(std::size_t limit) noexcept {
  worker* const here = current_worker();
  if (ARAMID_LIKELY(here != nullptr)) {
    return here->random() % limit;
  }
  static constinit std::atomic<std::uint64_t> selections{0};
  // splitmix64 (Steele, Lea, Flood 2014) of a count.
  std::uint64_t z = selections.fetch_add(1, std::memory_order_relaxed) * 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return (z ^ (z >> 31)) % limit;
}

}  // namespace

std::size_t try_select_one(std::span<select_case* const> cases) {
  return attempt_one(cases, random_below(cases.size()));
}

std::size_t select_one(std::span<select_case* const> cases) {
  return select_until_done(cases, random_below);
}

}  // namespace aramid::inline v0::detail
