// What a fiber holds through std_guard, and the report of one that suspends with it. The fields are there in every build, so that the
// layout is the same; who looks at them is compiled in with the assertions only.
#pragma once

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

class fiber_control;

/// The fiber's own.
struct std_locks_held {
  const void* newest = nullptr;
  unsigned held = 0;
  bool reported = false;  // since it held none
};

void report_std_lock(fiber_control& self, const char* suspends_in) noexcept;

#if defined(ARAMID_ENABLE_ASSERT) && ARAMID_ENABLE_ASSERT
#define ARAMID_CHECK_STD_LOCKS(fiber, suspends_in)                       \
  do {                                                                   \
    if ((fiber).std_locks.held != 0) {                                   \
      ::aramid::detail::report_std_lock(fiber, suspends_in);             \
    }                                                                    \
  } while (false)
inline constexpr bool in_debug_build = true;
#else
#define ARAMID_CHECK_STD_LOCKS(fiber, suspends_in) static_cast<void>(0)
inline constexpr bool in_debug_build = false;
#endif

}  // namespace aramid::inline v0::detail
