// Broken invariants. On in debug and sanitizer builds (ARAMID_ENABLE_ASSERT); never changes a layout.
#pragma once

#include <cstdio>
#include <cstdlib>

#if defined(ARAMID_ENABLE_ASSERT) && ARAMID_ENABLE_ASSERT
#define ARAMID_ASSERT(condition, what)                                                            \
  do {                                                                                            \
    if (!(condition)) {                                                                           \
      std::fprintf(stderr, "aramid: %s:%d: broken invariant: %s\n", __FILE__, __LINE__, what);    \
      std::abort();                                                                               \
    }                                                                                             \
  } while (false)
#else
#define ARAMID_ASSERT(condition, what) static_cast<void>(0)
#endif
