// The kernel's wait queue for words in memory (man 2 futex).
#pragma once

#include <cstdint>

#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

/// Sleeps while *word == expected, until a wake or `deadline`. May return for no reason.
void futex_wait(const void* word, std::uint32_t expected, time_point deadline) noexcept;

/// Wakes one sleeper. `word` need not exist any more: a wake of an address is harmless.
void futex_wake(const void* word) noexcept;

}  // namespace aramid::inline v0::detail
