// The switch between two executions, inline because a scheduler does little else. Included where fibers are switched and nowhere
// else: it brings Boost.Context along.
//
// The jump. Boost's `jump_fcontext` is called and never returns: it jumps on to where the other side once called it. The CPU
// predicts each `ret` by the `call`s it has seen, so after a jump every return up to the user's code takes the address of one call
// too late, and is mispredicted: 6.6 ns each here, more than the jump itself (4.6). Therefore, on x86-64, we do not call
// it: we push the address to come back to ourselves, and jump there. Calls and returns then pair up across a switch whenever both
// fibers wait in the same function, which they mostly do. The figures are in runtime/README.md.
#pragma once

#include <pthread.h>

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <boost/context/detail/fcontext.hpp>

#include "execution.hpp"
#include "worker.hpp"

// TSan's switch must not sit between the entry and the exit of an instrumented function.
#if defined(__SANITIZE_THREAD__)
#define ARAMID_NOT_FOR_TSAN __attribute__((no_sanitize("thread")))
#define ARAMID_SWITCH_INLINE __attribute__((noinline)) inline
#else
#define ARAMID_NOT_FOR_TSAN
#define ARAMID_SWITCH_INLINE __attribute__((always_inline)) inline
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

/// Whether `execution::sanitizers` mean anything.
inline bool are_sanitizers_on() noexcept {
#if defined(__SANITIZE_THREAD__)
  return true;
#else
  return ARAMID_UNLIKELY(__sanitizer_start_switch_fiber != nullptr);
#endif
}

/// Goes on where `resume_point` says, handing `data` over.
/// Returns, when somebody comes back: where that one is to be resumed; `data` is then what that one has handed over.
#if defined(__x86_64__) && !defined(__SHSTK__)  // a shadow stack wants the call
__attribute__((always_inline)) inline void* jump(void* resume_point, void*& data) noexcept {
  void* left;
  void* given = data;
  // An operand, not a name in the text: a link-time optimiser sees that it is needed.
  auto* jump_to = &boost::context::detail::jump_fcontext;
  // The red zone below the stack pointer may be in use: the push goes beyond it.
  asm volatile(
      "leaq -128(%%rsp), %%rsp\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "jmp *%%rcx\n"
      "1:\n\t"
      "leaq 128(%%rsp), %%rsp"
      : "=a"(left), "=d"(data), "+D"(resume_point), "+S"(given), "+c"(jump_to)
      :
      : "r8", "r9", "r10", "r11", "memory", "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)",
        "st(7)", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15"
#if defined(__AVX512F__)
        , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28",
        "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#endif
  );
  return left;
}
#else
inline void* jump(void* resume_point, void*& data) noexcept {
  const boost::context::detail::transfer_t arrived = boost::context::detail::jump_fcontext(resume_point, data);
  data = arrived.data;
  return arrived.fctx;
}
#endif

// Who leaves, and why, goes across in the register that a jump hands over: in the free bits of the execution's address.
inline constexpr std::uintptr_t left_by_bits = 3;
static_assert(alignof(execution) > left_by_bits);

/// The first act on the other side: `left` is what `jump` has returned (or the first frame was given), `data` what came with it.
__attribute__((always_inline)) inline arrival note_arrival(void* left, void* data) noexcept {
  const auto word = reinterpret_cast<std::uintptr_t>(data);
  auto* const from = reinterpret_cast<execution*>(word & ~left_by_bits);
  from->resume_point.store(left, std::memory_order_relaxed);
  return {from, static_cast<left_by>(word & left_by_bits)};
}

#if defined(__SANITIZE_THREAD__)
// TSan keeps a signal back until its thread calls something that TSan intercepts, and keeps it with the fiber that ran: one that came just before that
// left, and that would wake it, would wait for it to run. So no signal comes between the last such call, which is this one, and the switch.
ARAMID_NOT_FOR_TSAN inline void hold_signals(worker& w) noexcept {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &w.signals_held_over);
}
ARAMID_NOT_FOR_TSAN inline void let_signals_come(const worker& w) noexcept {
  pthread_sigmask(SIG_SETMASK, &w.signals_held_over, nullptr);
}
#endif

/// Behind `note_arrival`: tells ASan where we are, and lets TSan have its signals.
inline void finish_switch(arrival came) noexcept {
#if defined(__SANITIZE_THREAD__)
  let_signals_come(*came.from->on);
#endif
  if (ARAMID_UNLIKELY(__sanitizer_finish_switch_fiber != nullptr)) {
    __sanitizer_finish_switch_fiber(came.from->on->entering->sanitizers.fake_stack, nullptr, nullptr);
  }
}

/// What every switch does.
__attribute__((always_inline)) inline arrival jump_to(execution& from, left_by how, execution& to) noexcept {
  void* data = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(&from) | static_cast<std::uintptr_t>(how));
  void* const left = jump(to.resume_point.load(std::memory_order_relaxed), data);
  return note_arrival(left, data);
}

/// The switch that does more: it takes exceptions along, and tells sanitizers.
ARAMID_NOT_FOR_TSAN __attribute__((noinline)) inline arrival switch_with_more(worker& w, execution& from, left_by how,
                                                                              execution& to) noexcept {
  from.exceptions = *w.exception_globals;
  *w.exception_globals = std::exchange(to.exceptions, {});
  from.has_more = from.exceptions.any() || are_sanitizers_on();
  to.has_more = are_sanitizers_on();
  if (__sanitizer_start_switch_fiber != nullptr) {
    __sanitizer_start_switch_fiber(&from.sanitizers.fake_stack, to.sanitizers.stack_bottom, to.sanitizers.stack_size);
    w.entering = &to;
  }
#if defined(__SANITIZE_THREAD__)
  hold_signals(w);
  __tsan_switch_to_fiber(to.sanitizers.tsan_fiber, 0);
#endif
  const arrival came = jump_to(from, how, to);
  finish_switch(came);
  return came;
}

/// Suspends `from`, which is running on `w` and leaves as `how` says, and runs `to`. Returns when somebody switches to `from`
/// again: perhaps on another thread. The worker that then runs it is that of who has switched back.
/// Returns: who has switched back.
ARAMID_NOT_FOR_TSAN ARAMID_SWITCH_INLINE arrival switch_to(worker& w, execution& from, left_by how, execution& to) noexcept {
  // What is not looked at behind the jump need not be saved around it.
  to.on = &w;
  if (ARAMID_UNLIKELY(to.has_more || w.exception_globals->any())) {
    return switch_with_more(w, from, how, to);
  }
  return jump_to(from, how, to);
}

}  // namespace aramid::inline v0::detail
