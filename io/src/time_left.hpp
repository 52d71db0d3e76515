// Deadlines as the kernel takes them.
#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>

#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

/// How long it is until `deadline`; nothing if that has passed.
[[nodiscard]] inline timespec time_left(time_point deadline) noexcept {
  using namespace std::chrono;
  const nanoseconds left = std::max<nanoseconds>(deadline - clock::now(), nanoseconds::zero());
  return {static_cast<time_t>(duration_cast<seconds>(left).count()), static_cast<long>((left % seconds(1)).count())};
}

}  // namespace aramid::inline v0::detail
