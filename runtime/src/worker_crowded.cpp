// What a worker does differently while there are fewer CPUs than workers want (crowding.hpp): it leaves its peers asleep as long as it
// comes round in time by itself.
//
//   1. It wakes no peer for woken fibers that need no more than `patience` at its present pace (pace.hpp). Should they need more after all, because
//      one takes longer than those before, the watchdog wakes a peer (watchdog.hpp, steps 2 and 5).
//   2. A peer that has nothing to do takes none of those either (`worth_a_visit`). It does take fibers that have not started: nobody
//      knows how long those take.
//   3. A worker gives the fibers that a poll has woken to a peer that is awake and can run them, and what waits here, within
//      `patience` (`hand_over`): to any such peer if it was asleep, which it then is again; else only to one in front of it, as two
//      that are awake must not give to each other. Where a fiber runs it asks for its next I/O, so its next completion finds it there:
//      soon one worker has all of the work that one can do.
//
// 3's queue is `given_`. Whoever gives pushes there and wakes the peer, as one does with `inbox_` (injection_queue.hpp, driver_slot.hpp), for it
// may be on its way to sleep. The owner takes all that is there at each look and when it is dry; a peer may take from it
// as from the other queues.

#include <time.h>

#include <chrono>
#include <optional>
#include <utility>

#include "runtime_core.hpp"
#include "worker.hpp"

namespace aramid::inline v0::detail {

namespace {

std::chrono::nanoseconds cpu_of_this_thread() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

/// And whether the driver shall hurry, which depends on it. A system call, of 0.2 µs. Whoever steps workers wants them to do the same each time.
void worker::note_pace() noexcept {
  const std::uint64_t switches = counters.switches();
  if (!core.watches_cpu_times() || stepped_ || now_ - paced_.at < pace::interval || switches - paced_.switches < pace::fewest) {
    return;
  }
  const std::chrono::nanoseconds cpu = cpu_of_this_thread();
  if (paced_.at != time_point()) {
    fibers_pace.note(cpu - paced_.cpu, switches - paced_.switches);
    if (const std::optional<bool> hurry = haste_.note(now_, fibers_pace.heavy(), switches, counters.parks.get())) {
      current_driver().hurry(*hurry);
    }
  }
  paced_ = {now_, cpu, switches};
}

/// How much the woken fibers here and `more` will take.
std::chrono::nanoseconds worker::wait_behind(std::size_t more) const noexcept {
  return static_cast<std::int64_t>(backlog() + more) * fibers_pace.mean();
}

void worker::offer_woken() noexcept {
  if (!core.crowded() || wait_behind(0) > crowding::patience) {
    notify_peer();
  }
}

bool worker::worth_a_visit() const noexcept {
  if (!core.crowded()) {
    return has_stealable();
  }
  return ready_.fresh().size() != 0 ||
         (has_stealable() && (stuck() || late.load(std::memory_order_relaxed) || wait_behind(0) > crowding::patience));
}

void worker::hand_over(wake_batch& batch, unsigned peers) noexcept {
  if (batch.size() == 0 || !core.crowded()) {
    return;
  }
  for (unsigned i = 0; i != peers; ++i) {
    worker& peer = core.worker_at(i);
    if (&peer == this || peer.asleep() || peer.stuck() || peer.late.load(std::memory_order_relaxed) ||
        peer.wait_behind(1 + batch.size() + backlog()) > crowding::patience) {
      continue;
    }
    counters.given.add(batch.size());
    waiter* next = batch.take();
    while (next != nullptr) {
      peer.given_.push(static_cast<fiber_control&>(*std::exchange(next, next->next)));
    }
    peer.wake();
    return;
  }
}

}  // namespace aramid::inline v0::detail
