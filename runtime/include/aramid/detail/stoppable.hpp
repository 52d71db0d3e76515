// A wait that a std::stop_token ends too.
#pragma once

#include <optional>
#include <stop_token>

#include <aramid/detail/config.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

/// Parks. Returns: who ended the wait; nullopt if it was `stop`. (The callback competes for the wait like any waker. When it is
/// destroyed it is not running, or has been waited for.)
inline std::optional<wake_reason> park_unless(parker& wait, const std::stop_token& stop) {
  bool stopped = false;
  wake_reason reason = wake_reason::notified;
  {
    const std::stop_callback on_stop(stop, [&stopped, token = wait.token()] {
      if (claim(token)) {
        stopped = true;
        deliver(token);
      }
    });
    reason = wait.park();
  }
  return stopped ? std::nullopt : std::optional(reason);
}

}  // namespace aramid::inline v0::detail
