#include "execution.hpp"

#include <pthread.h>

#include <cxxabi.h>

#include "execution_switch.hpp"

// The first frame of a stack. Its caller is nobody and its frame pointer null: here whoever unwinds or walks frames stops.
// It passes what it was given on to `aramid_enter_execution`.
#if defined(__x86_64__)
asm(R"(
  .text
  .hidden aramid_first_frame
  .type aramid_first_frame, @function
aramid_first_frame:
  .cfi_startproc
  .cfi_undefined rip
  xorl %ebp, %ebp
  movq $0, (%rsp)
  jmp aramid_enter_execution
  .cfi_endproc
  .size aramid_first_frame, . - aramid_first_frame
)");
extern "C" void aramid_first_frame(boost::context::detail::transfer_t arrived);
#else
#define aramid_first_frame aramid_enter_execution
#endif

extern "C" {
__attribute__((visibility("hidden"))) void aramid_enter_execution(boost::context::detail::transfer_t arrived);
}

void aramid_enter_execution(boost::context::detail::transfer_t arrived) {
  using namespace aramid::detail;
  const arrival came = note_arrival(arrived.fctx, arrived.data);
  execution& self = *came.from->on->entering;
  finish_switch(self);
  *self.on->exception_globals = {};
  self.entry(self, came);
  __builtin_unreachable();
}

namespace aramid::inline v0::detail {

void adopt_thread(execution& self, worker& w) noexcept {
  self.on = &w;
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
    void* bottom = nullptr;
    pthread_attr_getstack(&attributes, &bottom, &self.sanitizers.stack_size);
    self.sanitizers.stack_bottom = bottom;
    pthread_attr_destroy(&attributes);
  }
#if defined(__SANITIZE_THREAD__)
  self.sanitizers.tsan_fiber = __tsan_get_current_fiber();
#endif
}

void prepare(execution& self, void* bottom, std::size_t size,
             void (*entry)(execution& self, arrival arrived)) noexcept {
  self.entry = entry;
  self.sanitizers.stack_bottom = bottom;
  self.sanitizers.stack_size = size;
  self.sanitizers.fake_stack = nullptr;
#if defined(__SANITIZE_THREAD__)
  if (self.sanitizers.tsan_fiber == nullptr) {
    self.sanitizers.tsan_fiber = __tsan_create_fiber(0);
  }
#endif
  self.resume_point.store(
      boost::context::detail::make_fcontext(static_cast<char*>(bottom) + size, size, &aramid_first_frame),
      std::memory_order_relaxed);
}

void forget(execution& self) noexcept {
  // The frames that are abandoned never take back what ASan has poisoned between them.
  if (__asan_unpoison_memory_region != nullptr && self.sanitizers.stack_bottom != nullptr) {
    __asan_unpoison_memory_region(self.sanitizers.stack_bottom, self.sanitizers.stack_size);
  }
#if defined(__SANITIZE_THREAD__)
  if (self.sanitizers.tsan_fiber != nullptr) {
    __tsan_destroy_fiber(self.sanitizers.tsan_fiber);
  }
#endif
  self.sanitizers = {};
}

exception_state* exception_globals_of_thread() noexcept {
  return reinterpret_cast<exception_state*>(abi::__cxa_get_globals());
}

}  // namespace aramid::inline v0::detail
