#include "watchdog.hpp"

#include <pthread.h>

#include "futex.hpp"
#include "hog_report.hpp"
#include "runtime_core.hpp"

namespace aramid::inline v0::detail {

void watchdog::start(std::chrono::milliseconds report_hogs_after) {
  notes_.assign(core_.worker_count(), note{});
  report_after_ = report_hogs_after;
  if (report_after_.count() > 0) {
    prepare_hog_reports();
  }
  thread_ = std::thread([this] { run(); });
}

void watchdog::stop() noexcept {
  if (thread_.joinable()) {
    word_.store(ending, std::memory_order_release);
    futex_wake(&word_);
    thread_.join();
  }
}

void watchdog::run() noexcept {
  pthread_setname_np(pthread_self(), "aramid-watch");
  while (word_.load(std::memory_order_acquire) != ending) {
    wait(ticking, clock::now() + period);
    if (!look() && everybody_sleeps()) {
      sleep_until_activity();
    }
  }
}

void watchdog::wait(std::uint32_t while_word, time_point deadline) noexcept {
  while (word_.load(std::memory_order_acquire) == while_word && clock::now() < deadline) {
    futex_wait(&word_, while_word, deadline);
  }
}

bool watchdog::look() noexcept {
  bool activity = false;
  bool stuck = false;
  for (unsigned i = 0; i != core_.worker_count(); ++i) {
    worker& w = core_.worker_at(i);
    const std::uint64_t switches = w.counters.switches();
    const bool moved = switches != std::exchange(notes_[i].switches, switches);
    const bool is_stuck = !moved && !w.asleep();
    if (!is_stuck) {
      notes_[i].since = {};
    } else if (report_after_.count() > 0) {
      look_for_hog(i, notes_[i]);
    }
    w.stuck_at.store(is_stuck ? switches : UINT64_MAX, std::memory_order_relaxed);
    stuck = stuck || is_stuck;
    activity = activity || moved || is_stuck;
  }
  any_stuck_.store(stuck, std::memory_order_relaxed);
  if (stuck) {
    if (const int sleeper = core_.idle().wake_spare(); sleeper >= 0) {
      core_.worker_at(static_cast<unsigned>(sleeper)).wake();
    }
  }
  return activity;
}

void watchdog::look_for_hog(unsigned index, note& of) noexcept {
  const time_point now = clock::now();
  if (of.since == time_point{}) {
    of.since = now;
    of.reported = false;
  }
  const auto stood_still = std::chrono::duration_cast<std::chrono::milliseconds>(now - of.since);
  if (stood_still >= report_after_ && !of.reported) {
    of.reported = true;
    report_hog(core_.threads_[index].native_handle(), index, stood_still);
  }
}

bool watchdog::everybody_sleeps() const noexcept {
  for (unsigned i = 0; i != core_.worker_count(); ++i) {
    if (!core_.worker_at(i).asleep()) {
      return false;
    }
  }
  return true;
}

void watchdog::sleep_until_activity() noexcept {
  std::uint32_t expected = ticking;
  if (!word_.compare_exchange_strong(expected, asleep, std::memory_order_relaxed)) {
    return;  // ending
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with note_activity
  if (everybody_sleeps()) {
    wait(asleep, time_point::max());
  }
  expected = asleep;
  word_.compare_exchange_strong(expected, ticking, std::memory_order_relaxed);
}

void watchdog::wake() noexcept {
  std::uint32_t expected = asleep;
  if (word_.compare_exchange_strong(expected, ticking, std::memory_order_release,
                                    std::memory_order_relaxed)) {
    futex_wake(&word_);
  }
}

}  // namespace aramid::inline v0::detail
