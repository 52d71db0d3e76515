#include "overflow.hpp"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "runtime_core.hpp"
#include "thread_state.hpp"

namespace aramid::inline v0::detail {

namespace {

struct sigaction previous_action;  // written once, before any fault can reach us

void on_fault(int signal, siginfo_t* info, void* context) {
  if (const worker* const w = current_worker()) {
    if (const fiber_control* const fiber = w->core.overflowed(info->si_addr)) {
      // snprintf into a local buffer: not on the list of async-signal-safe functions, but it neither locks nor
      // allocates for %s and %llu, and the program is over.
      char line[160];
      const int length = std::snprintf(
          line, sizeof line, "aramid: stack overflow in fiber '%s' (%llu), stack of %zu bytes\n", fiber->name,
          static_cast<unsigned long long>(fiber->id), fiber->stack_size_bytes);
      (void)!write(STDERR_FILENO, line, static_cast<std::size_t>(length));
      std::abort();
    }
  }
  // Not ours: as if we had never been here.
  if ((previous_action.sa_flags & SA_SIGINFO) != 0 && previous_action.sa_sigaction != nullptr) {
    previous_action.sa_sigaction(signal, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
  } else {
    sigaction(signal, &previous_action, nullptr);  // the fault repeats, with its default effect
  }
}

}  // namespace

void report_stack_overflows() noexcept {
  static const bool installed = [] {
    struct sigaction ours {};
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    return sigaction(SIGSEGV, &ours, &previous_action) == 0;
  }();
  (void)installed;
}

alternate_signal_stack::alternate_signal_stack() : memory_(new unsigned char[size_bytes]) {
  stack_t wanted{};
  wanted.ss_sp = memory_.get();
  wanted.ss_size = size_bytes;
  sigaltstack(&wanted, &previous_);
}

alternate_signal_stack::~alternate_signal_stack() { sigaltstack(&previous_, nullptr); }

}  // namespace aramid::inline v0::detail
