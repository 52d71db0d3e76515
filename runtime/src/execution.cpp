#include "execution.hpp"

#include <pthread.h>

#include <cxxabi.h>
#include <utility>

#include <boost/context/stack_context.hpp>  // which preallocated.hpp forgets

#include <boost/context/preallocated.hpp>

#include "execution_switch.hpp"

namespace aramid::inline v0::detail {

namespace {

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
  set_resume_point(self, resume_context(
                      std::allocator_arg,
                      boost::context::preallocated(stack.sp, stack.size, stack), stack_owned_elsewhere{},
                      [&self, entry, argument](resume_context&& left) -> resume_context {
                        set_resume_point(*self.on->leaving, std::move(left));
                        finish_switch(self);
#if !ARAMID_BOOST_SAVES_EXCEPTION_STATE
                        *self.on->exception_globals = {};
#endif
                        entry(argument);
                        __builtin_unreachable();
                      }));
}

void forget(execution& self) noexcept {
  // The frames that are abandoned never take back what ASan has poisoned between them.
  if (__asan_unpoison_memory_region != nullptr && self.stack_bottom != nullptr) {
    __asan_unpoison_memory_region(self.stack_bottom, self.stack_size);
  }
#if defined(__SANITIZE_THREAD__)
  if (self.tsan_fiber != nullptr) {
    __tsan_destroy_fiber(self.tsan_fiber);
  }
#endif
  self = execution{};
}

exception_state* exception_globals_of_thread() noexcept {
  return reinterpret_cast<exception_state*>(abi::__cxa_get_globals());
}

}  // namespace aramid::inline v0::detail
