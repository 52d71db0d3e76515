// How often a stress test goes round: fully in a plain build, a hundredth of it under a sanitizer.
#pragma once

#include <algorithm>

namespace aramid::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(undefined_behavior_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#else
inline constexpr bool sanitized = false;
#endif

/// `count` rounds, or a hundredth under a sanitizer, but `least` at least.
constexpr int scaled(int count, int least = 10) {
  return sanitized ? std::max(count / 100, std::min(count, least)) : count;
}

}  // namespace aramid::test
