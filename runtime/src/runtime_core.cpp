#include "runtime_core.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>

#include "asymmetric_fence.hpp"
#include "cpu_count.hpp"
#include "futex.hpp"
#include "futex_driver.hpp"
#include "hog_report.hpp"
#include "log.hpp"
#include "overflow.hpp"
#include "signal_mask.hpp"
#include "thread_state.hpp"

namespace aramid::inline v0::detail {

namespace {

constexpr unsigned most_workers = 1024;

unsigned workers_of(const options& opts) {
  if (opts.workers > most_workers) {
    throw std::invalid_argument("aramid: options::workers: " + std::to_string(opts.workers) + " is more than " +
                                std::to_string(most_workers));
  }
  return opts.workers != 0 ? opts.workers : std::min(usable_cpus(), most_workers);
}

std::chrono::milliseconds hogs_reported_after(const options& opts) {
  if (opts.report_hogs_after.count() < 0) {
    throw std::invalid_argument("aramid: options::report_hogs_after is negative");
  }
  const char* const wanted = std::getenv("ARAMID_REPORT_HOGS");
  return opts.report_hogs_after.count() == 0 && wanted != nullptr ? std::chrono::milliseconds(std::max(0, std::atoi(wanted)))
                                                                   : opts.report_hogs_after;
}

std::size_t offload_threads_of(const options& opts) {
  if (opts.blocking_threads == 0) {
    throw std::invalid_argument("aramid: options::blocking_threads: with 0 no blocking() would ever run");
  }
  return opts.blocking_threads;
}

constexpr offload_pool::names names_of_blocking{.wait = "blocking",
                                                .cancelled_wait = "blocking, although cancelled",
                                                .inside = "blocking()",
                                                .threads = "aramid-blocking"};
constexpr offload_pool::names names_of_files{.wait = "a file operation",
                                             .cancelled_wait = "a file operation, although cancelled",
                                             .inside = "a file operation",
                                             .threads = "aramid-files"};

/// As many as io_uring is allowed (uring/ring.cpp), and a disk has use for.
constexpr std::size_t file_threads = 32;

/// How long calls inside blocking() may go on at the end of a runtime before they are named.
constexpr std::chrono::milliseconds blocking_grace{100};

}  // namespace

runtime_core::runtime_core(const options& opts, mode how, std::uint64_t seed)
    : stepped_(how == mode::stepped),
      report_hogs_after_(hogs_reported_after(opts)),
      report_deadlocks_(opts.report_deadlocks || in_debug_build),
      even_with_io_(opts.report_deadlocks),
      dump_on_sigquit_(opts.dump_on_sigquit),
      // More searchers than CPUs would only take them from those who have the work.
      idle_(workers_of(opts), stepped_ ? workers_of(opts) : std::min(workers_of(opts), usable_cpus())),
      default_stacks_(rounded_stack_size(opts.stack_size_bytes)),
      driver_wanted_(opts.driver),
      offloads_(*this, offload_threads_of(opts), names_of_blocking),
      file_calls_(*this, file_threads, names_of_files),
      watchdog_(*this),
      quit_dump_(*this) {
  prepare_heavy_fences();
  const unsigned count = workers_of(opts);
  for (unsigned i = 0; i != count; ++i) {
    workers_.push_back(std::make_unique<worker>(*this, i, seed + 0x9e3779b97f4a7c15U * (i + 1)));
    drivers_.push_back(std::make_unique<futex_driver>());
    workers_.back()->use_driver(*drivers_.back());
  }
}

runtime_core::~runtime_core() = default;

void runtime_core::start() {
  watch_forks();
  report_stack_overflows();
  try {
    for (const auto& each : workers_) {
      threads_.emplace_back([w = each.get()] {
        w->thread_id.store(::gettid(), std::memory_order_release);
        w->thread_id.notify_all();
        pthread_setname_np(pthread_self(), ("aramid-" + std::to_string(w->index)).c_str());
        block_broken_pipes();
        // Whoever made the runtime may have blocked it.
        change_signal_mask(SIG_UNBLOCK, SIGURG);
        // The default slack of 50 µs would be added to every sleep.
        prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
        const alternate_signal_stack for_overflows;
        w->run();
      });
    }
    if (worker_count() > 1 || report_hogs_after_.count() > 0 || report_deadlocks_) {
      watchdog_.start(report_hogs_after_, report_deadlocks_);
    }
    if (dump_on_sigquit_) {
      quit_dump_.start();
    }
  } catch (...) {
    end_threads();
    throw;
  }
}

std::optional<running_fiber> runtime_core::ask_what_runs_on(unsigned index) const noexcept {
  const std::lock_guard lock(threads_lock_);
  if (index >= threads_.size() || worker_at(index).asleep()) {
    return std::nullopt;
  }
  return ask_what_runs(const_cast<std::thread&>(threads_[index]).native_handle());
}

bool runtime_core::waits_for_nothing() const noexcept {
  if (!even_with_io_ && workers_.front()->driver_for_io() != nullptr) {
    return false;
  }
  for (const auto& each : workers_) {
    if (!each->timers().empty() || each->current_driver().in_flight() != 0 || each->has_stealable()) {
      return false;
    }
  }
  if (offloads_.busy() || file_calls_.busy()) {
    return false;
  }
  struct survey {
    const runtime_core* core;
    bool any = false;
    bool all_wait = true;
  } of{this};
  for_each_control(
      [](fiber_control& each, void* argument) {
        auto& seen = *static_cast<survey*>(argument);
        while_alive(each, *seen.core, [&] {
          seen.any = true;
          seen.all_wait = seen.all_wait && each.word.parked().has_value();
        });
      },
      &of);
  return of.any && of.all_wait;
}

void runtime_core::end_threads() noexcept {
  quit_dump_.stop();
  watchdog_.stop();
  exiting_.store(true, std::memory_order_release);
  for (const auto& each : workers_) {
    each->wake();
  }
  std::vector<std::thread> ending;
  {
    const std::lock_guard lock(threads_lock_);
    ending.swap(threads_);
  }
  for (std::thread& each : ending) {
    each.join();
  }
  offloads_.stop();
  file_calls_.stop();
  gate_.wait_for_guests();
}

bool runtime_core::admit() {
  if (of_another_process()) {
    throw std::logic_error("aramid: spawn: the runtime is that of the process which forked this one; make a new one");
  }
  return gate_.admit();
}

bool runtime_core::wait_until_ended(time_point deadline) noexcept {
  return gate_.wait(
      worker_count(), [this](unsigned i) -> const auto& { return workers_[i]->tally; },
      [deadline](const std::atomic<std::uint32_t>& word, std::uint32_t value) {
        if (clock::now() >= deadline) {
          return false;
        }
        futex_wait(&word, value, deadline);
        return true;
      });
}

void runtime_core::cancel_all() noexcept {
  struct canceller {
    const runtime_core* core;
    stop_list to_ask;
  } ours{this, {}};
  for_each_control(
      [](fiber_control& each, void* argument) {
        auto& of = *static_cast<canceller*>(argument);
        while_alive(each, *of.core, [&] { each.request_cancel(of.to_ask); });
      },
      &ours);
}

void runtime_core::stop(std::chrono::milliseconds grace) {
  if (current_fiber() != nullptr && current_runtime() == this) {
    throw std::logic_error("aramid: runtime::stop: called from one of its own fibers");
  }
  if (of_another_process()) {
    // Kept for ever: its locks may be held by nobody, and its threads cannot be joined.
    static auto& kept = *new std::vector<std::shared_ptr<runtime_core>>;
    if (std::find(kept.begin(), kept.end(), shared_from_this()) == kept.end()) {
      kept.push_back(shared_from_this());
    }
    return;
  }
  const std::lock_guard lock(stop_lock_);
  if (exiting()) {
    return;
  }
  gate_.begin_wait();
  const time_point deadline =
      grace.count() > 0 ? deadline_after(clamped(grace)) : time_point::min();
  (void)wait_until_ended(deadline);
  gate_.stop_births();
  cancel_all();
  if (!wait_until_ended(deadline_after(blocking_grace))) {
    for (const offload_pool* pool : {&offloads_, &file_calls_}) {
      for (const std::string& each : pool->running()) {
        log_line("aramid: runtime::stop waits: " + each);
      }
    }
    (void)wait_until_ended(time_point::max());
  }
  end_threads();
}

stack_pool& runtime_core::stacks_of(std::size_t size_bytes) {
  if (size_bytes == default_stacks_.size_bytes()) {
    return default_stacks_;
  }
  const std::lock_guard lock(other_stacks_lock_);
  return other_stacks_.try_emplace(size_bytes, size_bytes).first->second;
}

const fiber_control* runtime_core::overflowed(const void* address) const noexcept {
  const stack* hit = default_stacks_.guarding(address);
  for (auto each = other_stacks_.begin(); hit == nullptr && each != other_stacks_.end(); ++each) {
    hit = each->second.guarding(address);
  }
  return hit != nullptr ? hit->occupant : nullptr;
}

void runtime_core::make_ready(fiber_control& fiber) noexcept {
  worker* const w = current_worker();
  if (ARAMID_LIKELY(w != nullptr && &w->core == this && fiber.home == nullptr)) {
    return w->push_woken(fiber);
  }
  make_ready_elsewhere(fiber, w);
}

void runtime_core::make_ready_elsewhere(fiber_control& fiber, const worker* w) noexcept {
  if (w != nullptr && &w->core == this) {
    return fiber.home->push_pinned(fiber);
  }
  // The fiber may be the last, and end before we are done.
  const shutdown_gate<>::visit as_guest(gate_);
  fiber.home != nullptr ? fiber.home->push_pinned(fiber) : inject(fiber);
}

void runtime_core::inject(fiber_control& fiber) noexcept {
  injection_.push(fiber);
  if (worker_count() == 1) {
    workers_.front()->wake();
  } else if (const int sleeper = idle_.wake_one(); sleeper >= 0) {
    worker_at(static_cast<unsigned>(sleeper)).wake();
  }
}

driver& runtime_core::make_driver_for_io(worker& w, driver_maker make) {
  const std::lock_guard lock(drivers_lock_);
  if (w.driver_for_io() == nullptr) {
    std::vector<std::unique_ptr<driver>> made = make(worker_count(), driver_wanted_);
    drivers_.reserve(drivers_.size() + made.size());
    for (unsigned i = 0; i != worker_count(); ++i) {
      workers_[i]->use_driver(*made[i]);
      drivers_.push_back(std::move(made[i]));
    }
    if (!stepped_ && worker_count() != 1) {
      watchdog_.watch_cpu_times();
    }
    for (const auto& each : workers_) {
      each->begin_io();
    }
  }
  return w.current_driver();
}

void runtime_core::help_the_stuck(worker& helper) noexcept {
  if (!any_stuck()) {
    return;
  }
  for (const auto& each : workers_) {
    if (each.get() != &helper && each->stuck()) {
      helper.help(*each);
    }
  }
}

std::uint64_t runtime_core::given() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& each : workers_) {
    sum += each->counters.given.get();
  }
  return sum;
}

statistics runtime_core::stats() const {
  statistics sum;
  sum.spawned = gate_.births_from_outside();
  for (const auto& each : workers_) {
    const worker_counters& c = each->counters;
    sum.spawned += each->tally.born();
    sum.switches += c.switches();
    sum.steals += c.steals.get();
    sum.migrations += c.migrations.get();
    sum.wakes += c.wakes.get();
    sum.parks += c.parks.get();
    sum.helps += c.helps.get();
    sum.submissions += each->current_driver().submissions();
  }
  // Births first, so that what goes on meanwhile cannot make it more than there ever were; `stop` asks the other way round.
  // What has been joined counts no more, even if it has not yet left its worker, which is what `stop` asks.
  std::uint64_t ended = 0;
  for (const auto& each : workers_) {
    ended += each->counters.announced.get();
  }
  sum.fibers = sum.spawned > ended ? sum.spawned - ended : 0;
  sum.stacks = default_stacks_.made();
  {
    const std::lock_guard lock(other_stacks_lock_);
    for (const auto& [size, pool] : other_stacks_) {
      sum.stacks += pool.made();
    }
  }
  sum.blocking_threads = of_another_process() ? 0 : offloads_.threads() + file_calls_.threads();
  sum.workers = worker_count();
  sum.driver = workers_.front()->current_driver().name();
  return sum;
}

}  // namespace aramid::inline v0::detail
