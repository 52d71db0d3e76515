// A worker that has nothing to run: it searches at its peers, helps those that are stuck, and sleeps. The steps W1–W6 are those of
// idle_set.hpp.

#include <algorithm>
#include <atomic>
#include <utility>

#include "runtime_core.hpp"
#include "worker.hpp"

namespace aramid::inline v0::detail {

bool worker::may_sleep() const noexcept {
  return !core.exiting() && inbox_.empty() && !has_stealable() && !ready_.has_next() &&
         (!work_elsewhere() || !core.idle().may_search());
}

bool worker::work_elsewhere() const noexcept {
  if (!core.injection().empty()) {
    return true;
  }
  for (unsigned i = 0; i != core.worker_count(); ++i) {
    if (core.worker_at(i).worth_a_visit()) {
      return true;
    }
  }
  return false;
}

void worker::sleep(time_point deadline) noexcept {
  wake_batch batch;
  if (driver* const mine = prepare_sleep(deadline, batch)) {
    mine->poll(deadline, batch);
  }
  end_sleep(batch);
}

driver* worker::prepare_sleep(time_point& deadline, wake_batch& batch) noexcept {
  asleep_.store(true, std::memory_order_relaxed);
  if (core.worker_count() != 1) {
    core.idle().park(index, std::exchange(searching_, false));  // W3
  }
  if (!timers_.empty()) {
    now_ = current_driver().now();
    timers_.fire(now_, batch);
    deadline = std::min(deadline, timers_.next());
  }
  if (ARAMID_UNLIKELY(core.any_stuck())) {
    // Somebody has to look after the stuck one again soon: what this worker has nudged its kernel to finish shows a little later.
    deadline = std::min(deadline, current_driver().now() + help_interval);
  }
  driver* const mine = driver_.prepare_sleep([&] { return may_sleep() && batch.size() == 0; });  // W4
  slept_ = mine != nullptr;
  if (slept_) {
    counters.parks.add();
  }
  return mine;
}

void worker::end_sleep(wake_batch& batch) noexcept {
  driver_.end_sleep();
  asleep_.store(false, std::memory_order_relaxed);
  core.note_activity();
  if (core.worker_count() != 1) {
    // W6. Or W4: then other work may have been left to this worker too, so it has to search for it and wake the next.
    searching_ = !core.idle().unpark_self(index) || (!slept_ && core.idle().begin_search());
  }
  now_ = current_driver().now();  // also without timers: fibers note since when they wait
  if (!timers_.empty()) {
    timers_.fire(now_, batch);
  }
  if (slept_ && !searching_) {
    hand_over(batch, core.worker_count());
  }
  batch.commit();
}

/// Completions of its own come before what peers have: to take that costs both, and the next completions would be apart for good.
bool worker::reap_own() noexcept {
  driver& mine = current_driver();
  if (!mine.has_completions()) {
    return false;
  }
  wake_batch batch;
  mine.poll(time_point::min(), batch);
  hand_over(batch, index);
  batch.commit();
  return has_stealable() || ready_.has_next();
}

fiber_control* worker::search() noexcept {
  const unsigned count = core.worker_count();
  if (core.crowded() && !searching_ && !core.any_stuck() && !work_elsewhere()) {
    return nullptr;
  }
  if (!searching_ && !core.idle().begin_search()) {
    return nullptr;
  }
  searching_ = true;
  constexpr unsigned rounds = 3;
  for (unsigned round = 0; round != rounds; ++round) {
    unsigned victim = static_cast<unsigned>(random() % count);
    for (unsigned i = 0; i != count; ++i, victim = victim + 1 == count ? 0 : victim + 1) {
      if (victim == index) {
        continue;
      }
      if (fiber_control* const found = steal_from(core.worker_at(victim), round + 1 == rounds)) {
        // Stolen work may keep this worker from `sleep` for long: tell the kernel now what it was prepared.
        current_driver().flush();
        return found;
      }
    }
    if (fiber_control* const found = core.injection().pop()) {
      return found;
    }
  }
  return nullptr;
}

fiber_control* worker::steal_from(worker& victim, bool last_round) noexcept {
  if (core.crowded() && !victim.worth_a_visit() && !victim.stuck()) {
    return nullptr;
  }
  const std::size_t before = ready_.size();
  if (fiber_control* const found = victim.ready_.steal(ready_)) {
    counters.steals.add(1 + ready_.size() - before);
    return found;
  }
  if (fiber_control* const found = victim.given_.pop()) {
    counters.steals.add();
    return found;
  }
  if (victim.stuck() && help(victim)) {
    return ready_.pop_woken();
  }
  if (last_round) {
    // The slot's fiber is about to run where its data is hot, unless its worker is busy with another for longer than it
    // takes to look again.
    if (fiber_control* const seen = victim.ready_.peek_next()) {
      const std::uint64_t switches = victim.counters.switches();
      for (int i = 0; i != next_patience; ++i) {
        std_atomics::pause();
        if (victim.ready_.peek_next() != seen || victim.counters.switches() != switches) {
          return nullptr;
        }
      }
      if (victim.ready_.steal_next(seen)) {
        counters.steals.add();
        return seen;
      }
    }
  }
  return nullptr;
}

bool worker::help(worker& victim) noexcept {
  wake_batch batch;
  driver& theirs = victim.current_driver();
  victim.timers_.fire(theirs.now(), batch);
  theirs.help(batch);
  if (batch.size() == 0) {
    return false;
  }
  counters.helps.add();
  batch.commit();
  return true;
}

std::uint64_t worker::random() noexcept {  // xorshift64 (Marsaglia 2003)
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return random_;
}

}  // namespace aramid::inline v0::detail
