// Lines for people, through the handler that set_log_handler installed.
#pragma once

#include <string_view>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

ARAMID_API void log_line(std::string_view line) noexcept;  // also in aramid/driver.hpp, for drivers

}  // namespace aramid::inline v0::detail
