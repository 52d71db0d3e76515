// Text from outside, for the message of an error.
#pragma once

#include <string>
#include <string_view>

namespace aramid::inline v0::detail {

/// In quotes, without control characters, and not at length: what comes from a command line or the network may be anything.
[[nodiscard]] inline std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text.substr(0, 80)) {
    result += static_cast<unsigned char>(c) < ' ' || c == 127 ? '?' : c;
  }
  return result += text.size() > 80 ? "…\"" : "\"";
}

}  // namespace aramid::inline v0::detail
