#include "hog_report.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <signal.h>
#include <time.h>
#include <ucontext.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <sstream>
#include <string>

#include "fiber_control.hpp"
#include "forks.hpp"
#include "log.hpp"
#include "thread_state.hpp"

namespace aramid::inline v0::detail {

namespace {

constexpr std::size_t most_frames = 48;

/// Written by the watchdog that asks (one at a time), then by the handler, then read by that watchdog.
struct question {
  enum state : int { nobody_asks, asked, answering, answered };
  std::atomic<int> progress{nobody_asks};
  pthread_t whom{};
  bool on_fiber = false;
  fiber_id id = 0;
  char name[fiber_control::name_bytes] = {};
  std::array<std::uintptr_t, most_frames> frames{};
  std::size_t depth = 0;
};
constinit question current;
constinit std::mutex asking;

struct sigaction previous;  // written once, before the first signal of ours

void walk(const ucontext_t& context, const fiber_control& fiber) noexcept {
#if defined(__x86_64__)
  const auto at = static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RIP]);
  auto frame = static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RBP]);
#elif defined(__aarch64__)
  const auto at = static_cast<std::uintptr_t>(context.uc_mcontext.pc);
  auto frame = static_cast<std::uintptr_t>(context.uc_mcontext.regs[29]);
#else
#error "aramid: no frame walk for this machine"
#endif
  current.frames[0] = at;
  current.depth = 1;
  auto low = reinterpret_cast<std::uintptr_t>(fiber.bound->bottom);
  const std::uintptr_t high = low + fiber.bound->size_bytes;
  // A frame: the caller's frame, and behind it where to return.
  while (current.depth != most_frames && frame % sizeof(frame) == 0 && frame >= low &&
         frame + 2 * sizeof(frame) <= high) {
    const auto* const words = reinterpret_cast<const std::uintptr_t*>(frame);
    if (words[1] == 0) {
      break;
    }
    current.frames[current.depth++] = words[1];
    low = frame + sizeof(frame);  // frames only go up
    frame = words[0];
  }
}

void on_question(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  int expected = question::asked;
  if (pthread_equal(pthread_self(), current.whom) != 0 &&
      current.progress.compare_exchange_strong(expected, question::answering,
                                               std::memory_order_acquire)) {
    const auto* const fiber = static_cast<const fiber_control*>(current_fiber());
    current.on_fiber = fiber != nullptr && fiber->bound != nullptr;
    if (current.on_fiber) {
      current.id = fiber->id;
      std::memcpy(current.name, fiber->name, sizeof current.name);
      walk(*static_cast<const ucontext_t*>(context), *fiber);
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
  current.whom = thread;
  current.depth = 0;
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

std::string name_of(std::uintptr_t address) {
  std::ostringstream text;
  text << std::hex << "0x" << address;
  Dl_info found{};
  if (dladdr(reinterpret_cast<const void*>(address), &found) == 0 || found.dli_fname == nullptr) {
    return text.str();
  }
  if (found.dli_sname != nullptr) {
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> plain(
        abi::__cxa_demangle(found.dli_sname, nullptr, nullptr, &status), &std::free);
    text << ' ' << (plain != nullptr ? plain.get() : found.dli_sname) << "+0x"
         << address - reinterpret_cast<std::uintptr_t>(found.dli_saddr);
  }
  text << " (" << found.dli_fname << "+0x"
       << address - reinterpret_cast<std::uintptr_t>(found.dli_fbase) << ')';
  return text.str();
}

}  // namespace

void abandon_hog_reports() noexcept {
  new (&asking) std::mutex;  // whoever held it is not here
  current.progress.store(question::nobody_asks, std::memory_order_relaxed);
}

void prepare_hog_reports() noexcept {
  static const bool installed = [] {
    struct sigaction ours {};
    ours.sa_sigaction = on_question;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigemptyset(&ours.sa_mask);
    return sigaction(SIGURG, &ours, &previous) == 0;
  }();
  (void)installed;
}

void report_hog(pthread_t thread, unsigned index, std::chrono::milliseconds stood_still) noexcept {
  try {
    const std::lock_guard lock(asking);
    const std::string kept = " has kept worker " + std::to_string(index) + " to itself for " +
                             std::to_string(stood_still.count()) + " ms";
    if (!ask(thread)) {
      log_line("aramid: a fiber" + kept +
               "; its thread does not answer");  // it blocks the signal, or has not got its CPU
      return;
    }
    if (!current.on_fiber) {
      return;  // it has come to its end meanwhile
    }
    std::string text = "aramid: fiber '" + std::string(current.name) + "' (" +
                       std::to_string(current.id) + ")" + kept + ", in";
    for (std::size_t i = 0; i != current.depth; ++i) {
      // Behind the first stand return addresses: the call is before them.
      text += "\n    " + name_of(current.frames[i] - (i == 0 ? 0 : 1));
    }
    log_line(text);
  } catch (const std::exception&) {  // no memory for the text
  }
}

}  // namespace aramid::inline v0::detail
