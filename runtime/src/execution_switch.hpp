// The switch between two executions, inline because a scheduler does little else. Included where fibers are switched and nowhere
// else: it brings Boost.Context along.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

#include <boost/context/fiber.hpp>
#include <boost/version.hpp>

#include "execution.hpp"
#include "worker.hpp"

// Boost.Context saves the exception globals itself from 1.88 on (boostorg/context pull 276).
#if !defined(ARAMID_BOOST_SAVES_EXCEPTION_STATE)
#if BOOST_VERSION >= 108800
#define ARAMID_BOOST_SAVES_EXCEPTION_STATE 1
#else
#define ARAMID_BOOST_SAVES_EXCEPTION_STATE 0
#endif
#endif

// TSan's switch must not sit between the entry and the exit of an instrumented function.
#if defined(__SANITIZE_THREAD__)
#define ARAMID_SWITCH_FUNCTION __attribute__((noinline, no_sanitize("thread"))) inline
#else
#define ARAMID_SWITCH_FUNCTION __attribute__((always_inline)) inline
#endif

extern "C" {
// Weak: present exactly when the program is built with AddressSanitizer
// (compiler-rt, include/sanitizer/common_interface_defs.h).
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom,
                                                          std::size_t size);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* fake_stack_save, const void** bottom_old,
                                                           std::size_t* size_old);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void* address, std::size_t size);
#if defined(__SANITIZE_THREAD__)
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
#endif
}

namespace aramid::inline v0::detail {

using resume_context = boost::context::fiber;
static_assert(sizeof(resume_context) <= sizeof(execution::resume_point));

inline void set_resume_point(execution& self, resume_context&& value) noexcept {
  ::new (static_cast<void*>(self.resume_point)) resume_context(std::move(value));
}

/// After arriving in `self`.
inline void finish_switch(execution& self) noexcept {
  if (ARAMID_UNLIKELY(__sanitizer_finish_switch_fiber != nullptr)) {
    __sanitizer_finish_switch_fiber(self.fake_stack, nullptr, nullptr);
  }
}

/// Suspends `from`, which is running on `w`, and runs `to`. Returns when somebody switches to `from` again: perhaps on another
/// thread.
/// Returns: the worker that `from` now runs on.
ARAMID_SWITCH_FUNCTION worker& switch_to(worker& w, execution& from, execution& to) noexcept {
  to.on = &w;
  w.leaving = &from;
#if !ARAMID_BOOST_SAVES_EXCEPTION_STATE
  // Field by field: copied as a whole the 16 bytes are loaded at once, from two smaller stores that are still on their way to
  // the cache, which stalls every switch for a dozen cycles.
  void* const caught = w.exception_globals->caught;
  const unsigned uncaught = w.exception_globals->uncaught;
#endif
  if (ARAMID_UNLIKELY(__sanitizer_start_switch_fiber != nullptr)) {
    __sanitizer_start_switch_fiber(&from.fake_stack, to.stack_bottom, to.stack_size);
  }
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
  resume_context left =
      std::move(*std::launder(reinterpret_cast<resume_context*>(to.resume_point))).resume();
  // From here on this may be another thread: `from.on` says which worker's.
  worker& now = *from.on;
  set_resume_point(*now.leaving, std::move(left));
  finish_switch(from);
#if !ARAMID_BOOST_SAVES_EXCEPTION_STATE
  now.exception_globals->caught = caught;
  now.exception_globals->uncaught = uncaught;
#endif
  return now;
}

}  // namespace aramid::inline v0::detail
