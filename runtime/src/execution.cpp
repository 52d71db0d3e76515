#include "execution.hpp"

#include <pthread.h>

#include <cxxabi.h>
#include <new>
#include <utility>

#include <boost/context/fiber.hpp>
#include <boost/context/preallocated.hpp>
#include <boost/version.hpp>

#include "worker.hpp"

// Boost.Context saves the exception globals itself from 1.88 on (boostorg/context pull 276).
#if !defined(ARAMID_BOOST_SAVES_EXCEPTION_STATE)
#if BOOST_VERSION >= 108800
#define ARAMID_BOOST_SAVES_EXCEPTION_STATE 1
#else
#define ARAMID_BOOST_SAVES_EXCEPTION_STATE 0
#endif
#endif

extern "C" {
// Weak: present exactly when the program is built with AddressSanitizer
// (compiler-rt, include/sanitizer/common_interface_defs.h).
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom,
                                                          std::size_t size);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* fake_stack_save, const void** bottom_old,
                                                           std::size_t* size_old);
#if defined(__SANITIZE_THREAD__)
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
#endif
}

namespace aramid::inline v0::detail {

namespace {

using resume_context = boost::context::fiber;
static_assert(sizeof(resume_context) <= sizeof(execution::resume_point));

resume_context& point(execution& self) noexcept {
  return *std::launder(reinterpret_cast<resume_context*>(self.resume_point));
}

void set_point(execution& self, resume_context&& value) noexcept {
  ::new (static_cast<void*>(self.resume_point)) resume_context(std::move(value));
}

/// Before leaving `from` for `to`.
void announce(execution& from, const execution& to) noexcept {
  if (__sanitizer_start_switch_fiber != nullptr) {
    __sanitizer_start_switch_fiber(&from.fake_stack, to.stack_bottom, to.stack_size);
  }
}

/// After arriving in `self`.
void arrived(execution& self) noexcept {
  if (__sanitizer_finish_switch_fiber != nullptr) {
    __sanitizer_finish_switch_fiber(self.fake_stack, nullptr, nullptr);
  }
}

struct stack_owned_elsewhere {
  void deallocate(boost::context::stack_context&) noexcept {}
};

}  // namespace

void adopt_thread(execution& self, worker& w) noexcept {
  self.on = &w;
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
    void* bottom = nullptr;
    pthread_attr_getstack(&attributes, &bottom, &self.stack_size);
    self.stack_bottom = bottom;
    pthread_attr_destroy(&attributes);
  }
#if defined(__SANITIZE_THREAD__)
  self.tsan_fiber = __tsan_get_current_fiber();
#endif
}

void prepare(execution& self, void* bottom, std::size_t size, void (*entry)(void*), void* argument) {
  self.stack_bottom = bottom;
  self.stack_size = size;
  self.fake_stack = nullptr;
#if defined(__SANITIZE_THREAD__)
  if (self.tsan_fiber == nullptr) {
    self.tsan_fiber = __tsan_create_fiber(0);
  }
#endif
  boost::context::stack_context stack;
  stack.size = size;
  stack.sp = static_cast<char*>(bottom) + size;
  set_point(self, resume_context(
                      std::allocator_arg,
                      boost::context::preallocated(stack.sp, stack.size, stack), stack_owned_elsewhere{},
                      [&self, entry, argument](resume_context&& left) -> resume_context {
                        set_point(*self.on->leaving, std::move(left));
                        arrived(self);
#if !ARAMID_BOOST_SAVES_EXCEPTION_STATE
                        *self.on->exception_globals = {};
#endif
                        entry(argument);
                        __builtin_unreachable();
                      }));
}

void forget(execution& self) noexcept {
#if defined(__SANITIZE_THREAD__)
  if (self.tsan_fiber != nullptr) {
    __tsan_destroy_fiber(self.tsan_fiber);
  }
#endif
  self = execution{};
}

// Not instrumented: TSan's switch must not sit between the entry and the exit of an instrumented function.
__attribute__((noinline, no_sanitize("thread"))) void switch_to(execution& from, execution& to) noexcept {
  worker& w = *from.on;
  to.on = &w;
  w.leaving = &from;
#if !ARAMID_BOOST_SAVES_EXCEPTION_STATE
  const exception_state saved = *w.exception_globals;
#endif
  announce(from, to);
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
  resume_context left = std::move(point(to)).resume();
  // From here on this may be another thread: `from.on` says which worker's.
  worker& now = *from.on;
  set_point(*now.leaving, std::move(left));
  arrived(from);
#if !ARAMID_BOOST_SAVES_EXCEPTION_STATE
  *now.exception_globals = saved;
#endif
}

exception_state* exception_globals_of_thread() noexcept {
  return reinterpret_cast<exception_state*>(abi::__cxa_get_globals());
}

}  // namespace aramid::inline v0::detail
