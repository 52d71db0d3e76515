// A wait that a std::stop_token ends too.
#pragma once

#include <optional>
#include <stop_token>

#include <aramid/detail/config.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

/// Parks. Returns: who ended the wait; nullopt if it was `stop`.
[[nodiscard]] ARAMID_API std::optional<wake_reason> park_unless(parker& wait, const std::stop_token& stop);

}  // namespace aramid::inline v0::detail
