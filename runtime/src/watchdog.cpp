#include "watchdog.hpp"

#include <pthread.h>

#include <exception>
#include <optional>
#include <utility>

#include "dump.hpp"
#include "futex.hpp"
#include "hog_report.hpp"
#include "log.hpp"
#include "runtime_core.hpp"

namespace aramid::inline v0::detail {

namespace {

/// For how long nothing must have happened before it is called a deadlock.
constexpr std::chrono::seconds deadlock_patience{1};

}  // namespace

void watchdog::start(std::chrono::milliseconds report_hogs_after, bool report_deadlocks) {
  report_deadlocks_ = report_deadlocks;
  notes_ = std::vector<note>(core_.worker_count());
  report_after_ = report_hogs_after;
  if (report_after_.count() > 0) {
    prepare_to_ask();
  }
  thread_ = std::thread([this] { run(); });
}

void watchdog::stop() noexcept {
  if (thread_.joinable()) {
    word_.store(ending, std::memory_order_release);
    futex_wake(&word_);
    thread_.join();
    notes_.clear();
  }
}

void watchdog::run() noexcept {
  pthread_setname_np(pthread_self(), "aramid-watch");
  while (word_.load(std::memory_order_acquire) != ending) {
    wait(ticking, clock::now() + period);
    if (++ticks_ % (crowding::window / period) == 0) {
      look_at_cpu_times();
    }
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
  bool late = false;
  for (unsigned i = 0; i != core_.worker_count(); ++i) {
    worker& w = core_.worker_at(i);
    const std::uint64_t switches = w.counters.switches();
    const std::uint64_t run = switches - std::exchange(notes_[i].switches, switches);
    const bool is_stuck = run == 0 && !w.asleep();
    const bool is_late = crowded() && !w.asleep() && w.has_stealable() && run * (crowding::patience / period) <= w.backlog();
    if (!is_stuck) {
      notes_[i].since = {};
    } else if (report_after_.count() > 0) {
      look_for_hog(i, notes_[i]);
    }
    w.stuck_at.store(is_stuck ? switches : UINT64_MAX, std::memory_order_relaxed);
    w.late.store(is_late, std::memory_order_relaxed);
    stuck = stuck || is_stuck;
    late = late || is_late;
    activity = activity || run != 0 || is_stuck;
    const std::uint64_t next_look = w.next_look();
    if (next_look == std::exchange(notes_[i].next_look, next_look) && run != 0 && !w.asleep()) {
      w.look_soon();
    }
  }
  any_stuck_.store(stuck, std::memory_order_relaxed);
  if (stuck || late) {
    const int sleeper = stuck ? core_.idle().wake_spare() : core_.idle().wake_one();
    if (sleeper != idle_set<>::none) {
      core_.worker_at(static_cast<unsigned>(sleeper)).wake();
    }
  }
  return activity;
}

void watchdog::watch_cpu_times() noexcept {
  for (unsigned i = 0; i != core_.worker_count(); ++i) {
    std::atomic<pid_t>& thread = core_.worker_at(i).thread_id;
    thread.wait(0, std::memory_order_acquire);
    notes_[i].delay.open(thread.load(std::memory_order_relaxed));
    notes_[i].cpu = notes_[i].delay.read().value_or(cpu_times{});
  }
  watches_cpu_times_.store(true, std::memory_order_release);
}

void watchdog::look_at_cpu_times() noexcept {
  if (!watches_cpu_times()) {
    return;
  }
  cpu_times sum;
  std::chrono::nanoseconds heavy{0};
  for (unsigned i = 0; i != core_.worker_count(); ++i) {
    note& of = notes_[i];
    const worker& w = core_.worker_at(i);
    const std::uint64_t switches = w.counters.switches();
    if (switches == std::exchange(of.switches_at_window, switches)) {
      continue;
    }
    if (const std::optional<cpu_times> now = of.delay.read()) {
      sum += *now - std::exchange(of.cpu, *now);
    }
    const std::chrono::nanoseconds heavy_now = w.fibers_pace.heavy();
    heavy += heavy_now - std::exchange(of.heavy, heavy_now);
  }
  note_crowded(crowding_.note(sum, heavy));
}

void watchdog::note_crowded(bool so) noexcept {
  if (!assumes_.load(std::memory_order_relaxed)) {
    crowded_.store(so, std::memory_order_relaxed);
  }
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
  if (report_deadlocks_ && core_.waits_for_nothing()) {
    if (!sleep_until_activity(clock::now() + deadlock_patience)) {
      return;
    }
    if (core_.waits_for_nothing()) {
      report_deadlocks_ = false;
      report_deadlock();
    }
  }
  (void)sleep_until_activity(time_point::max());
}

bool watchdog::sleep_until_activity(time_point deadline) noexcept {
  std::uint32_t expected = ticking;
  if (!word_.compare_exchange_strong(expected, asleep, std::memory_order_relaxed)) {
    return false;  // ending
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with note_activity
  if (everybody_sleeps()) {
    wait(asleep, deadline);
  }
  expected = asleep;
  return word_.compare_exchange_strong(expected, ticking, std::memory_order_relaxed) && clock::now() >= deadline && everybody_sleeps();
}

void watchdog::report_deadlock() noexcept {
  try {
    log_line("aramid: every fiber waits, and no timer, I/O or blocking() is under way that would wake one: a deadlock, unless a thread outside "
             "of the runtime is going to.\n" +
             dump_of(core_));
  } catch (const std::exception&) {  // no memory for the text
  }
}

void watchdog::wake() noexcept {
  std::uint32_t expected = asleep;
  if (word_.compare_exchange_strong(expected, ticking, std::memory_order_release,
                                    std::memory_order_relaxed)) {
    futex_wake(&word_);
  }
}

}  // namespace aramid::inline v0::detail
