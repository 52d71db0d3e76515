#include "signal_table.hpp"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <csignal>
#include <mutex>

#include <aramid/detail/spin_lock.hpp>

namespace aramid::inline v0::detail {
namespace {

constexpr std::size_t max_watches = 64;
constexpr int last_signal = 64;

// Other people's system calls go on after our handler. Under ThreadSanitizer they must not: it
// keeps the signal back until the thread is out of the call it sleeps in.
#if defined(__SANITIZE_THREAD__)
constexpr int restart_calls = 0;
#else
constexpr int restart_calls = SA_RESTART;
#endif

struct disposition {
  int watches = 0;
  struct sigaction previous {};
};

// All constant-initialised and never destroyed: a signal may come at any time.
constinit std::array<std::atomic<signal_watch*>, max_watches> slots{};
constinit std::atomic<int> handlers_running{0};
constinit spin_lock table_lock;
disposition dispositions[last_signal + 1];  // under table_lock

/// A forked child finds the table whole and free: nobody else would give it back there.
void hold_the_table_while_forking() noexcept {
  static const bool held = pthread_atfork([] { table_lock.lock(); }, [] { table_lock.unlock(); },
                                          [] {
                                            handlers_running = 0;
                                            table_lock.unlock();
                                          }) == 0;
  (void)held;
}

extern "C" void aramid_signal_handler(int number) {
  const int saved = errno;
  // Sequentially consistent with the slot's clearing in `leave_signal_table`: either this sees the
  // slot empty, or the one who leaves sees this handler.
  handlers_running.fetch_add(1);
  const std::uint64_t bit = std::uint64_t{1} << (number - 1);
  for (const auto& slot : slots) {
    signal_watch* const watch = slot.load();
    if (watch != nullptr && (watch->wanted & bit) != 0) {
      watch->pending.fetch_or(bit);
      const std::uint64_t one = 1;
      (void)!::write(watch->handle.number(), &one, sizeof one);
    }
  }
  handlers_running.fetch_sub(1);
  errno = saved;
}

bool is_ours(const struct sigaction& action) {
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == &aramid_signal_handler;
}

void take_over(int number) noexcept {
  disposition& d = dispositions[number];
  if (d.watches++ != 0) {
    return;
  }
  struct sigaction action {};
  action.sa_handler = &aramid_signal_handler;
  // ONSTACK: a thread that has an alternate stack has it because its stack may be at its end.
  action.sa_flags = restart_calls | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  ::sigaction(number, &action, &d.previous);
}

void give_back(int number) noexcept {
  disposition& d = dispositions[number];
  struct sigaction now {};
  // Somebody else's handler, installed since, stays.
  if (--d.watches == 0 && ::sigaction(number, nullptr, &now) == 0 && is_ours(now)) {
    ::sigaction(number, &d.previous, nullptr);
  }
}

template <class Do>
void for_each_signal(std::uint64_t signals, Do&& what) {
  for (; signals != 0; signals &= signals - 1) {
    what(std::countr_zero(signals) + 1);
  }
}

}  // namespace

int signal_watch::take() noexcept {
  std::uint64_t bits = pending.load();
  while (bits != 0) {
    const std::uint64_t lowest = bits & (~bits + 1);
    if (pending.compare_exchange_weak(bits, bits & ~lowest)) {
      return std::countr_zero(lowest) + 1;
    }
  }
  return 0;
}

bool enter_signal_table(signal_watch& watch) noexcept {
  hold_the_table_while_forking();
  const std::lock_guard guard(table_lock);
  for (auto& slot : slots) {
    if (slot.load() == nullptr) {
      slot.store(&watch);
      for_each_signal(watch.wanted, take_over);
      return true;
    }
  }
  return false;
}

void leave_signal_table(signal_watch& watch) noexcept {
  {
    const std::lock_guard guard(table_lock);
    for_each_signal(watch.wanted, give_back);
    for (auto& slot : slots) {
      if (slot.load() == &watch) {
        slot.store(nullptr);
      }
    }
  }
  while (handlers_running.load() != 0) {
    sched_yield();
  }
}

}  // namespace aramid::inline v0::detail
