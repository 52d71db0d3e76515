#include "execution.hpp"

#include <pthread.h>

#include <cxxabi.h>

#include "execution_switch.hpp"

namespace {

[[noreturn]] void enter(boost::context::detail::transfer_t arrived) noexcept {
  using namespace aramid::detail;
  const arrival came = note_arrival(arrived.fctx, arrived.data);
  finish_switch(came);
  execution& self = *came.from->on->entering;
  self.entry(self, came);
  __builtin_unreachable();
}

// The first frame of a stack. Its caller is nobody and its frame pointer null: here whoever unwinds or walks frames stops.
// It passes on what it was given. The operand tells a link-time optimiser who is called, which a name in the text would not.
#if defined(__x86_64__)
__attribute__((naked)) void first_frame(boost::context::detail::transfer_t /*arrived*/) {
  asm(R"(
    .cfi_undefined rip
    xorl %%ebp, %%ebp
    movq $0, (%%rsp)
    jmp %P0
  )" ::"i"(&enter));
}
#else
constexpr auto& first_frame = enter;
#endif

/// Frees what ASan keeps of a suspended execution's frames beside its stack (with detect_stack_use_after_return: megabytes), as ASan itself does
/// only for one that leaves for good. So the calling thread says that it switches there, leaves for good and comes back; it stays where it is, and
/// no instrumented code runs meanwhile.
__attribute__((no_sanitize("address"), noinline)) void free_fake_stack(
    const aramid::detail::execution::sanitizer_state& suspended) noexcept {
  void* own = nullptr;
  const void* own_bottom = nullptr;
  std::size_t own_size = 0;
  __sanitizer_start_switch_fiber(&own, suspended.stack_bottom, suspended.stack_size);
  __sanitizer_finish_switch_fiber(suspended.fake_stack, &own_bottom, &own_size);
  __sanitizer_start_switch_fiber(nullptr, own_bottom, own_size);
  __sanitizer_finish_switch_fiber(own, nullptr, nullptr);
}

}  // namespace

namespace aramid::inline v0::detail {

void adopt_thread(execution& self, worker& w) noexcept {
  self.on = &w;
  self.has_more = are_sanitizers_on();
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
  self.has_more = are_sanitizers_on();
  self.sanitizers.stack_bottom = bottom;
  self.sanitizers.stack_size = size;
  self.sanitizers.fake_stack = nullptr;
#if defined(__SANITIZE_THREAD__)
  if (self.sanitizers.tsan_fiber == nullptr) {
    self.sanitizers.tsan_fiber = __tsan_create_fiber(0);
  }
#endif
  self.resume_point.store(
      boost::context::detail::make_fcontext(static_cast<char*>(bottom) + size, size, &first_frame),
      std::memory_order_relaxed);
}

void forget(execution& self) noexcept {
  // The frames that are abandoned never take back what ASan has poisoned between them.
  if (__asan_unpoison_memory_region != nullptr && self.sanitizers.stack_bottom != nullptr) {
    __asan_unpoison_memory_region(self.sanitizers.stack_bottom, self.sanitizers.stack_size);
  }
  if (__sanitizer_start_switch_fiber != nullptr && self.sanitizers.fake_stack != nullptr) {
    free_fake_stack(self.sanitizers);
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
