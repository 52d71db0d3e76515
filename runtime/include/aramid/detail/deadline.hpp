// From whatever duration or time point a caller has to a deadline in `aramid::clock`.
#pragma once

#include <chrono>
#include <type_traits>

#include <aramid/detail/config.hpp>
#include <aramid/park.hpp>
#include <aramid/timeout.hpp>

namespace aramid::inline v0::detail {

/// Rounded up, so that nothing ends early. What lies beyond `clock`'s range is no deadline.
template <class Rep, class Period>
[[nodiscard]] time_point deadline_in(std::chrono::duration<Rep, Period> timeout) noexcept {
  return deadline_after(clamped(timeout));
}

/// A time of another clock becomes the time that is left until then.
template <class Clock, class Duration>
[[nodiscard]] time_point deadline_at(std::chrono::time_point<Clock, Duration> deadline) {
  if constexpr (!std::is_same_v<Clock, clock>) {
    return deadline_in(deadline - Clock::now());
  } else if constexpr (std::is_same_v<Duration, clock::duration>) {
    return deadline;
  } else {
    return time_point(clamped(deadline.time_since_epoch()));
  }
}

}  // namespace aramid::inline v0::detail
