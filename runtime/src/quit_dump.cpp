#include "quit_dump.hpp"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <exception>
#include <mutex>
#include <new>
#include <stdexcept>

#include "dump.hpp"
#include "forks.hpp"
#include "log.hpp"
#include "runtime_core.hpp"

namespace aramid::inline v0::detail {

namespace {

struct place {
  std::atomic<bool> taken{false};   // written under the lock, read by the handler
  std::atomic<bool> ending{false};  // written by `stop` before its post
  bool made = false;                // the semaphore; under the lock
  sem_t asked{};
};

constexpr std::size_t most_runtimes = 64;
constinit std::array<place, most_runtimes> table;
constinit std::mutex table_lock;
std::size_t taken = 0;  // under the lock
struct sigaction before;

void on_quit(int) {
  const int error = errno;
  for (place& each : table) {
    // acquire: pairs with the release in `start`: the semaphore has been made.
    if (each.taken.load(std::memory_order_acquire)) {
      sem_post(&each.asked);
    }
  }
  errno = error;
}

void install() noexcept {
  struct sigaction ours {};
  ours.sa_handler = on_quit;
  ours.sa_flags = SA_ONSTACK | SA_RESTART;
  sigemptyset(&ours.sa_mask);
  sigaction(SIGQUIT, &ours, &before);
}

/// Step 4, under the lock.
void leave(place& mine) noexcept {
  mine.taken.store(false, std::memory_order_relaxed);
  if (--taken == 0) {
    sigaction(SIGQUIT, &before, nullptr);
  }
}

}  // namespace

void abandon_quit_dumps() noexcept {
  new (&table_lock) std::mutex;  // whoever held it is not here
  for (place& each : table) {
    each.taken.store(false, std::memory_order_relaxed);
    each.made = false;
  }
  if (taken != 0) {
    taken = 0;
    sigaction(SIGQUIT, &before, nullptr);
  }
}

void quit_dump::start() {
  {
    const std::lock_guard lock(table_lock);
    while (place_ != table.size() && table[place_].taken.load(std::memory_order_relaxed)) {
      ++place_;
    }
    if (place_ == table.size()) {
      throw std::length_error("aramid: options::dump_on_sigquit: more than " + std::to_string(table.size()) + " runtimes want it");
    }
    place& mine = table[place_];
    if (!mine.made) {
      sem_init(&mine.asked, 0, 0);
      mine.made = true;
    }
    mine.ending.store(false, std::memory_order_relaxed);
    mine.taken.store(true, std::memory_order_release);
    if (taken++ == 0) {
      install();
    }
  }
  try {
    thread_ = std::thread([this] { run(); });
  } catch (...) {
    const std::lock_guard lock(table_lock);
    leave(table[place_]);
    throw;
  }
}

void quit_dump::run() noexcept {
  pthread_setname_np(pthread_self(), "aramid-dump");
  place& mine = table[place_];
  for (;;) {
    while (sem_wait(&mine.asked) != 0) {
    }
    if (mine.ending.load(std::memory_order_relaxed)) {
      return;
    }
    try {
      log_line("aramid: SIGQUIT: " + dump_of(core_));
    } catch (const std::exception& failure) {
      log_line("aramid: SIGQUIT: no dump: " + std::string(failure.what()));
    }
  }
}

void quit_dump::stop() noexcept {
  if (!thread_.joinable()) {
    return;
  }
  place& mine = table[place_];
  mine.ending.store(true, std::memory_order_relaxed);
  sem_post(&mine.asked);
  thread_.join();
  const std::lock_guard lock(table_lock);
  leave(mine);
  while (sem_trywait(&mine.asked) == 0) {  // what came too late; whoever takes the place next must not find it
  }
}

}  // namespace aramid::inline v0::detail
