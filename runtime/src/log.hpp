// Lines for people, through the handler that set_log_handler installed.
#pragma once

#include <string_view>

namespace aramid::inline v0::detail {

void log_line(std::string_view line) noexcept;

}  // namespace aramid::inline v0::detail
