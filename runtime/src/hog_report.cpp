#include "hog_report.hpp"

#include <signal.h>
#include <time.h>
#include <ucontext.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <string>

#include "fiber_control.hpp"
#include "forks.hpp"
#include "log.hpp"
#include "thread_state.hpp"

namespace aramid::inline v0::detail {

namespace {

/// Written by whoever asks (one at a time), then by the handler, then read by who asked.
struct question {
  enum state : int { nobody_asks, asked, answering, answered };
  std::atomic<int> progress{nobody_asks};
  std::atomic<pthread_t> whom{};  // relaxed: a signal that came too late may look at it when the next one is asked
  running_fiber answer;
};
constinit question current;
constinit std::mutex asking;

struct sigaction previous;  // written once, before the first signal of ours

void walk(frame_list& frames, const ucontext_t& context, const stack& on) noexcept {
#if defined(__x86_64__)
  frames.add(static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RIP]));
  add_frames(frames, static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RBP]), on);
#elif defined(__aarch64__)
  frames.add(static_cast<std::uintptr_t>(context.uc_mcontext.pc));
  add_frames(frames, static_cast<std::uintptr_t>(context.uc_mcontext.regs[29]), on);
#endif
}

void on_question(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  int expected = question::asked;
  if (pthread_equal(pthread_self(), current.whom.load(std::memory_order_relaxed)) != 0 &&
      current.progress.compare_exchange_strong(expected, question::answering,
                                               std::memory_order_acquire)) {
    const auto* const fiber = static_cast<const fiber_control*>(current_fiber());
    const stack* const on = fiber != nullptr ? fiber->bound.load(std::memory_order_relaxed) : nullptr;
    current.answer = {};
    if (on != nullptr) {
      current.answer.id = fiber->id;
      std::memcpy(current.answer.name, fiber->name, sizeof current.answer.name);
      walk(current.answer.frames, *static_cast<const ucontext_t*>(context), *on);
    }
    current.progress.store(question::answered, std::memory_order_release);
  } else if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  }
  errno = error;
}

/// Returns: whether the thread has answered.
bool ask(pthread_t thread) noexcept {
  current.whom.store(thread, std::memory_order_relaxed);
  current.progress.store(question::asked, std::memory_order_release);
  if (pthread_kill(thread, SIGURG) == 0) {
    for (int i = 0; i != 50; ++i) {
      if (current.progress.load(std::memory_order_acquire) == question::answered) {
        return true;
      }
      const timespec pause{0, 1'000'000};
      nanosleep(&pause, nullptr);
    }
  }
  // Take the question back, unless it is being answered right now.
  int expected = question::asked;
  if (current.progress.compare_exchange_strong(expected, question::nobody_asks,
                                               std::memory_order_relaxed)) {
    return false;
  }
  while (current.progress.load(std::memory_order_acquire) != question::answered) {
    sched_yield();
  }
  return true;
}

}  // namespace

void abandon_hog_reports() noexcept {
  new (&asking) std::mutex;  // whoever held it is not here
  current.progress.store(question::nobody_asks, std::memory_order_relaxed);
}

void prepare_to_ask() noexcept {
  static const bool installed = [] {
    struct sigaction ours {};
    ours.sa_sigaction = on_question;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigemptyset(&ours.sa_mask);
    return sigaction(SIGURG, &ours, &previous) == 0;
  }();
  (void)installed;
}

std::optional<running_fiber> ask_what_runs(pthread_t thread) noexcept {
  const std::lock_guard lock(asking);
  return ask(thread) ? std::optional(current.answer) : std::nullopt;
}

void report_hog(pthread_t thread, unsigned index, std::chrono::milliseconds stood_still) noexcept {
  try {
    const std::string kept = " has kept worker " + std::to_string(index) + " to itself for " +
                             std::to_string(stood_still.count()) + " ms";
    const std::optional<running_fiber> found = ask_what_runs(thread);
    if (!found) {
      log_line("aramid: a fiber" + kept +
               "; its thread does not answer");  // it blocks the signal, or has not got its CPU
    } else if (found->id != 0) {  // else it has come to its end meanwhile
      symbols names;
      log_line("aramid: fiber '" + std::string(found->name) + "' (" + std::to_string(found->id) + ")" + kept + ", in" +
               text_of(found->frames, true, names));
    }
  } catch (const std::exception&) {  // no memory for the text
  }
}

}  // namespace aramid::inline v0::detail
