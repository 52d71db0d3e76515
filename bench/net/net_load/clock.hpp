// The clock that latencies and phases are measured with.
#pragma once

#include <time.h>

#include <cstdint>

namespace net_load {

inline constexpr std::uint64_t second_ns = 1'000'000'000;

inline std::uint64_t now_ns() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * second_ns +
         static_cast<std::uint64_t>(time.tv_nsec);
}

inline std::uint64_t to_ns(double seconds) noexcept {
  return static_cast<std::uint64_t>(seconds * static_cast<double>(second_ns));
}

/// Returns: the milliseconds from `now` to `until`, rounded up, for epoll_wait.
inline int milliseconds_until(std::uint64_t now, std::uint64_t until) noexcept {
  constexpr std::uint64_t millisecond_ns = 1'000'000;
  return until <= now ? 0 : static_cast<int>((until - now + millisecond_ns - 1) / millisecond_ns);
}

}  // namespace net_load
