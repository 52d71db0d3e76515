// What can be switched to: a fiber stack, or a worker's own thread stack. Only execution.cpp and execution_switch.hpp know
// Boost.Context.
//
// A switch saves the callee-saved registers on the old stack (Boost.Context does that) and three things more:
//   - the C++ exception globals of the thread (which exceptions are being handled, how many are in flight), so that
//     a fiber may suspend in a catch block or a destructor and resume elsewhere. They are zero whenever none is, so all but such a
//     fiber leave and find zeros, and only that has its own put aside and brought back by whoever switches. Boost.Context's own classes
//     do this too from 1.88 on, in fiber::resume (boostorg/context pull 281); we jump below them, so it is done once with any version;
//   - what ASan must know of the stacks (through weak symbols, in every build: the program, not the library, decides)
//     and TSan of the fibers (in instrumented builds);
//   - where the old one is to be resumed, which only the *new* side learns: it stores it.
//
// errno is not saved: no call between two suspensions may rely on it across one, ours included.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

class worker;
struct execution;

/// What the one that has been left wants done now that its registers are saved.
enum class left_by : std::uint8_t { scheduler, yielded, parked, ended };

/// Who has switched to the one that now runs, and why.
struct arrival {
  execution* from;
  left_by how;
};

/// The layout of __cxa_eh_globals (Itanium C++ ABI, exception handling, 2.2.2).
struct exception_state {
  void* caught = nullptr;
  unsigned int uncaught = 0;

  [[nodiscard]] bool any() const noexcept { return (reinterpret_cast<std::uintptr_t>(caught) | uncaught) != 0; }
};
exception_state* exception_globals_of_thread() noexcept;

struct execution {
  /// Where to resume. Written by the side that is switched to; of no meaning while running. Atomic, because the stack behind it is
  /// prefetched by whoever finds it in a queue, when somebody else may already run it.
  std::atomic<void*> resume_point{nullptr};

  /// The worker it runs on (or last ran on). Written by whoever switches to it, before the switch. Read by
  /// its own code afterwards: this is how a resumed fiber knows where it is without touching a thread_local.
  worker* on = nullptr;

  /// Whether a switch to it has more to do than to jump: exceptions to bring back, sanitizers to tell.
  bool has_more = false;

  /// While it is suspended in a catch block or unwinding: what is its thread's while it runs. Written by whoever switches from or to it.
  exception_state exceptions;

  /// What the first switch to it runs.
  void (*entry)(execution& self, arrival arrived) = nullptr;

  // For the sanitizers; unused without them. Always present: the layout never changes.
  struct sanitizer_state {
    const void* stack_bottom = nullptr;
    std::size_t stack_size = 0;
    void* fake_stack = nullptr;
    void* tsan_fiber = nullptr;
  };
  sanitizer_state sanitizers;
};


/// Makes `self` the calling thread's own stack, on worker `w`.
void adopt_thread(execution& self, worker& w) noexcept;

/// Makes `self` ready to run `entry(self, …)` at the first switch to it, on [bottom, bottom + size).
/// `entry` never returns.
void prepare(execution& self, void* bottom, std::size_t size,
             void (*entry)(execution& self, arrival arrived)) noexcept;

/// Forgets a context that will not run again. Its stack may be reused or unmapped.
void forget(execution& self) noexcept;

// The switch itself is in execution_switch.hpp.

}  // namespace aramid::inline v0::detail
