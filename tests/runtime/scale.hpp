// How often a stress test goes round: its own count in a plain build, a hundredth of it under a sanitizer. The environment
// variable ARAMID_TEST_SCALE multiplies both, for a night's run.
#pragma once

#include <algorithm>
#include <cstdlib>

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

/// `count` rounds; under a sanitizer a hundredth of them, but `least` if `count` is as many.
inline int scaled(int count, int least = 10) {
  static const int factor = [] {
    const char* const text = std::getenv("ARAMID_TEST_SCALE");
    return text != nullptr ? std::max(1, std::atoi(text)) : 1;
  }();
  return factor * (sanitized ? std::max(count / 100, std::min(count, least)) : count);
}

}  // namespace aramid::test
