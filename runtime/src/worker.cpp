#include "worker.hpp"

#include <new>
#include <utility>

#include "assert.hpp"
#include "execution_switch.hpp"
#include "runtime_core.hpp"
#include "thread_state.hpp"

namespace aramid::inline v0::detail {

// What every switch runs through is inlined into park, yield and the stack loop: a call would cost as much as it does.
#define ARAMID_HOT __attribute__((always_inline)) inline

/// The context of every fiber stack: runs its occupants one after another.
struct stack_loop {
  [[noreturn]] static void main(execution& context, arrival came) {
    stack& self = stack::of(context);
    for (;;) {
      worker::arrive_from(came);
      worker* w = nullptr;
      do {
        w = &self.occupant->run_to_end();
      } while (succeed(*w, self, came));
    }
  }

  /// Returns true if a fresh fiber has taken the stack over; else leaves the stack as spare and returns when it is used again.
  static bool succeed(worker& w, stack& self, arrival& came) noexcept {
    fiber_control* const next = w.pick();
    if (next != nullptr && next->bound.load(std::memory_order_relaxed) == nullptr && next->stack_size_bytes == self.size_bytes) {
      w.occupy(*next, self);
      return true;
    }
    self.context.on = &w;
    came = switch_to(w, self.context, left_by::ended, next != nullptr ? w.enter(*next) : w.scheduler());
    return false;
  }
};

worker::worker(runtime_core& of, unsigned position, std::uint64_t seed)
    : core(of), index(position), stepped_(of.stepped()), random_(seed | 1) {}

worker::~worker() {
  core.default_stacks().give(spare_stacks_);
  return_controls(free_controls_, free_controls_.size);
}

// --- switching -----------------------------------------------------------------------------------------------------

ARAMID_HOT fiber_control* worker::pick() noexcept {
  const std::uint64_t picks = counters.picks.get() + 1;
  counters.picks.set(picks);
  if (ARAMID_UNLIKELY(picks % 8 == 0)) {
    return pick_eighth();
  }
  return pick_woken_first();
}

fiber_control* worker::pick_eighth() noexcept {
  if (stepped_) {
    look_soon();
  }
  if (look_is_due()) {
    return nullptr;
  }
  // Fresh and pinned fibers get a turn between woken ones: a full queue must not keep them from ever running. But while fresh ones
  // do start, to prefer one opens a branch of a tree of fibers before another has been closed.
  fiber_control* next = nullptr;
  if (counters.picks.get() % 16 == 0) {
    next = inbox_.pop();
  } else if (!std::exchange(fresh_started_, false)) {
    next = ready_.pop_newest_fresh();
  }
  return next != nullptr ? next : pick_woken_first();
}

ARAMID_HOT fiber_control* worker::pick_woken_first() noexcept {
  if (ready_.has_next() && next_runs_ < next_runs_limit) {
    ++next_runs_;
    if (fiber_control* const next = ready_.take_next()) {
      return next;
    }
  }
  next_runs_ = 0;
  std::size_t left = 0;
  if (fiber_control* const next = ready_.pop_woken(left); ARAMID_LIKELY(next != nullptr)) {
    if (ARAMID_UNLIKELY(left >= prefetch_batch_from)) {
      prefetch_woken(left, left_by::parked);
    }
    return next;
  }
  return pick_rest();
}

fiber_control* worker::pick_rest() noexcept {
  if (ready_.has_next()) {
    if (fiber_control* const next = ready_.take_next()) {
      return next;
    }
  }
  if (!given_.empty()) {
    take_given();
    if (fiber_control* const next = ready_.pop_woken()) {
      return next;
    }
  }
  if (fiber_control* const next = inbox_.pop()) {
    return next;
  }
  return ready_.pop_newest_fresh();
}

// A long queue is as large as its fibers' stacks, which no cache holds. What is fetched may be stolen or even gone: then it was in vain.
// Who comes from the driver or a timer has waited a few calls below its own code, and soon goes through all their frames. Who has yielded,
// or was woken by another fiber, mostly needs little but its registers. Who yields itself is taken to be among such.
ARAMID_HOT void worker::prefetch_woken(std::size_t left, left_by how) const noexcept {
  constexpr std::size_t line = 64, stacks_ahead = 4, fibers_ahead = 8;
  const auto& woken = ready_.woken();
  const bool of_batch = how != left_by::yielded && woken.first() + stacks_ahead - batch_begin_ < batch_end_ - batch_begin_;
  if (!of_batch && left < prefetch_from) {
    return;
  }
  const fiber_control* const soon = woken.peek(stacks_ahead);
  if (ARAMID_UNLIKELY(soon == nullptr)) {
    return;
  }
  const fiber_control* const later = woken.peek(fibers_ahead);
  __builtin_prefetch(later, 1);
  const char* const stack = static_cast<const char*>(soon->resume_point.load(std::memory_order_relaxed));
  for (std::size_t i = 0; i != 3; ++i) {
    __builtin_prefetch(stack + i * line, 1);
  }
  if (of_batch) {
    __builtin_prefetch(static_cast<const fiber_wait_line*>(later), 1);
    for (std::size_t i = 3; i != 12; ++i) {
      __builtin_prefetch(stack + i * line, 1);
    }
  }
}

ARAMID_HOT void worker::note_running(fiber_control& next) noexcept {
  if (ARAMID_UNLIKELY(next.on != this)) {
    if (next.on != nullptr) {
      counters.migrations.add();
    }
    next.on = this;
  }
  state_->current = &next;
}

ARAMID_HOT void worker::occupy(fiber_control& next, stack& on) noexcept {
  fresh_started_ = true;
  on.occupant = &next;
  next.bound.store(&on, std::memory_order_release);
  if (are_sanitizers_on()) {
    next.has_more = true;
    next.sanitizers = on.context.sanitizers;
  }
  if (next.pinned) {
    next.home = this;
  }
  note_running(next);
}

ARAMID_HOT execution& worker::enter(fiber_control& next) noexcept {
  if (ARAMID_LIKELY(next.bound.load(std::memory_order_relaxed) != nullptr)) {
    note_running(next);
    return next;
  }
  return bind(next);
}

execution& worker::bind(fiber_control& next) noexcept {
  try {
    stack& given = take_stack(next.stack_size_bytes);
    occupy(next, given);
    entering = &given.context;
    return given.context;
  } catch (...) {
    // No memory for a stack: the scheduler, which needs none, ends the fiber with the reason.
    unstartable_ = &next;
    unstartable_why_ = std::current_exception();
    return scheduler();
  }
}

ARAMID_HOT execution& worker::scheduler() noexcept {
  state_->current = nullptr;
  return scheduler_;
}

// The ways of suspending are written so that what is rare is their last call: then what is usual has nothing to save around it.

/// `usual` is tried first.
ARAMID_HOT void worker::arrive(arrival came, left_by usual) noexcept {
  if (ARAMID_UNLIKELY(came.how != usual)) {
    return arrive_from(came);
  }
  auto& fiber = static_cast<fiber_control&>(*came.from);
  if (usual == left_by::yielded) {
    if (ARAMID_UNLIKELY(fiber.pinned || !fiber.on->ready_.try_push_woken(&fiber))) {
      return fiber.on->queue_yielded(fiber);
    }
  } else if (ARAMID_UNLIKELY(fiber.commit())) {
    return fiber.resume();
  }
}

void worker::arrive_from(arrival came) noexcept {
  const auto fiber = [&came]() -> fiber_control& { return static_cast<fiber_control&>(*came.from); };
  switch (came.how) {
    case left_by::scheduler:
      break;
    case left_by::yielded:
      came.from->on->queue_yielded(fiber());
      break;
    case left_by::parked:
      if (fiber().commit()) {
        fiber().resume();
      }
      break;
    case left_by::ended:
      came.from->on->give_stack(stack::of(*came.from));
      break;
  }
}

void worker::queue_yielded(fiber_control& fiber) noexcept {
  if (fiber.pinned) {
    inbox_.push(fiber);
  } else {
    queue_woken(fiber);
  }
}

/// The usual successor: the fiber in the slot or the oldest woken one, which all have their stacks. nullptr, and nothing done, if another rule applies now.
ARAMID_HOT fiber_control* worker::pick_usual(left_by how) noexcept {
  const std::uint64_t picks = counters.picks.get() + 1;
  if (ARAMID_UNLIKELY(picks % 8 == 0)) {
    return nullptr;
  }
  fiber_control* next = nullptr;
  if (ready_.has_next()) {
    if (ARAMID_UNLIKELY(next_runs_ == next_runs_limit)) {
      return nullptr;
    }
    next = ready_.try_take_next();
    if (ARAMID_UNLIKELY(next == nullptr)) {
      return nullptr;
    }
    ++next_runs_;
  } else {
    std::size_t left = 0;
    next = ready_.try_pop_woken(left);
    if (ARAMID_UNLIKELY(next == nullptr)) {
      return nullptr;
    }
    next_runs_ = 0;
    if (ARAMID_UNLIKELY(left >= prefetch_batch_from)) {
      prefetch_woken(left, how);
    }
  }
  ARAMID_ASSERT(next->bound.load(std::memory_order_relaxed) != nullptr, "worker: a fiber that has not started lies among the woken ones");
  counters.picks.set(picks);
  return next;
}

void worker::park(fiber_control& self) noexcept {
  fiber_control* const next = pick_usual(left_by::parked);
  if (ARAMID_UNLIKELY(next == nullptr)) {
    return park_for_any(self);
  }
  note_running(*next);
  arrive(switch_to(*this, self, left_by::parked, *next), left_by::parked);
}

void worker::park_for_any(fiber_control& self) noexcept {
  fiber_control* const next = pick();
  arrive(switch_to(*this, self, left_by::parked, next != nullptr ? enter(*next) : scheduler()), left_by::parked);
}

void worker::yield(fiber_control& self) noexcept {
  fiber_control* const next = pick_usual(left_by::yielded);
  if (ARAMID_UNLIKELY(next == nullptr)) {
    return yield_to_any(self);
  }
  note_running(*next);
  arrive(switch_to(*this, self, left_by::yielded, *next), left_by::yielded);
}

void worker::yield_to_any(fiber_control& self) noexcept {
  fiber_control* const next = pick();
  if (next == nullptr && !look_is_due()) {
    return;  // nobody else is ready, and the scheduler is not due
  }
  arrive(switch_to(*this, self, left_by::yielded, next != nullptr ? enter(*next) : scheduler()), left_by::yielded);
}

void worker::run_from_scheduler(fiber_control& next) noexcept {
  counters.turns.add();
  execution& to = enter(next);
  if (&to != &scheduler_) {
    arrive_from(switch_to(*this, scheduler_, left_by::scheduler, to));
  }
  if (unstartable_ != nullptr) {
    std::exchange(unstartable_, nullptr)->fail_to_start(*this, std::exchange(unstartable_why_, nullptr));
  }
}

// --- queues --------------------------------------------------------------------------------------------------------

ARAMID_HOT void worker::queue_woken(fiber_control& fiber) noexcept {
  if (ARAMID_UNLIKELY(!ready_.try_push_woken(&fiber))) {
    grow_and_queue(fiber);
  }
}

void worker::grow_and_queue(fiber_control& fiber) noexcept {
  try {
    ready_.push_woken(&fiber);
  } catch (const std::bad_alloc&) {
    core.injection().push(fiber);  // needs no memory
  }
}

void worker::push_fresh(fiber_control& fiber) noexcept {
  tally.count_birth();
  queue_fresh(fiber);
  notify_peer();
}

void worker::queue_fresh(fiber_control& fiber) noexcept {
  try {
    ready_.push_fresh(&fiber);
  } catch (const std::bad_alloc&) {
    core.injection().push(fiber);
  }
}

void worker::push_woken(fiber_control& fiber) noexcept {
  if (ARAMID_UNLIKELY(!ready_.try_put_next(&fiber))) {
    displace_next(fiber);  // a last call, as above
  }
}

void worker::displace_next(fiber_control& fiber) noexcept {
  if (fiber_control* const displaced = ready_.put_next(&fiber)) {
    queue_woken(*displaced);
    offer_woken();
  }
}

void worker::push_batch(waiter* first, std::size_t count) noexcept {
  if (batch_end_ <= ready_.woken().first()) {
    batch_begin_ = ready_.woken().last();
  }
  while (first != nullptr) {
    queue_woken(static_cast<fiber_control&>(*std::exchange(first, first->next)));
  }
  batch_end_ = ready_.woken().last();
  // One of them this worker will run itself.
  if (count > 1 || ready_.woken().size() > 1) {
    offer_woken();
  }
}

void worker::take_given() noexcept {
  while (fiber_control* const given = given_.pop()) {
    queue_woken(*given);
  }
}

void worker::push_pinned(fiber_control& fiber) noexcept {
  inbox_.push(fiber);
  if (current_worker() != this) {
    wake();
  }
}

void worker::notify_peer() noexcept {
  if (core.worker_count() == 1) {
    return;
  }
  if (const int sleeper = core.idle().wake_one(); sleeper >= 0) {
    counters.wakes.add();
    core.worker_at(static_cast<unsigned>(sleeper)).wake();
  }
}

// --- the scheduler -------------------------------------------------------------------------------------------------

void worker::bind_thread() noexcept {
  state_ = state_of_thread();
  state_->on = this;
  state_->current = nullptr;
  exception_globals = exception_globals_of_thread();
  if (scheduler_.on == nullptr) {
    adopt_thread(scheduler_, *this);
  }
}

void worker::run() noexcept {
  bind_thread();
  now_ = current_driver().now();
  while (!core.exiting()) {
    if (!turn()) {
      sleep(time_point::max());
    }
  }
  current_driver().drain();
  state_->on = nullptr;
}

bool worker::turn() noexcept {
  const bool due = look_is_due();
  look_around(due);
  fiber_control* next = due ? take_overdue() : nullptr;
  if (next == nullptr) {
    next = pick_woken_first();
  }
  if (next == nullptr) {
    next = core.injection().pop();
  }
  if (next == nullptr && core.worker_count() != 1) {
    next = reap_own() ? pick_woken_first() : search();
  }
  if (next == nullptr) {
    return false;
  }
  if (std::exchange(searching_, false) && core.idle().end_search()) {
    notify_peer();  // W2 of idle_set.hpp
  }
  run_from_scheduler(*next);
  return true;
}

void worker::look_around(bool due) noexcept {
  if (!due && timers_.empty()) {
    return;  // dry: `sleep` submits and reaps in one system call
  }
  wake_batch batch;
  driver& mine = current_driver();
  now_ = mine.now();
  if (timers_.due(now_)) {
    timers_.fire(now_, batch);
  }
  if (due) {
    next_look_.store(counters.picks.get() + picks_between_looks, std::memory_order_relaxed);
    note_period();
    note_pace();
    take_given();
    mine.poll(time_point::min(), batch);
    if (fiber_control* const from_outside = core.injection().pop()) {
      from_outside->bound.load(std::memory_order_relaxed) != nullptr ? queue_woken(*from_outside) : queue_fresh(*from_outside);
    }
    core.help_the_stuck(*this);
    hand_over(batch, index);
  }
  batch.commit();
}

// Newest first alone could leave the oldest fresh fibers for ever. So of those that were there when the period began some are taken
// first: one, in the second period in a row two, and so on. Not more, because to start the oldest is to start the largest
// piece of a tree of fibers before the others are done: with one at each look (as Go and tokio take from their queues) a tree of a
// million had 2,400 stacks at once instead of 60, and left its thieves crumbs.
void worker::note_period() noexcept {
  if (++looks_ != looks_in_period && now_ - period_began_ < period) {
    return;
  }
  looks_ = 0;
  period_began_ = now_;
  const std::uint64_t oldest = ready_.fresh().first();
  oldest_allowed_ = oldest < fresh_at_period_ ? ++late_periods_ : (late_periods_ = 0);
  fresh_at_period_ = ready_.fresh().last();
}

fiber_control* worker::take_overdue() noexcept {
  if (oldest_allowed_ == 0) {
    return nullptr;
  }
  --oldest_allowed_;
  return ready_.pop_oldest_fresh();
}

// --- what fibers are made of -----------------------------------------------------------------------------------------

stack& worker::take_stack(std::size_t size_bytes) {
  stack* taken = spare_stacks_;
  if (taken != nullptr && taken->size_bytes == size_bytes) {
    spare_stacks_ = std::exchange(taken->next, nullptr);
    --spare_stacks_count_;
  } else {
    taken = core.stacks_of(size_bytes).take();
  }
  if (taken->fresh) {
    prepare(taken->context, taken->bottom, taken->used_bytes, &stack_loop::main);
    taken->fresh = false;
  }
  return *taken;
}

void worker::give_stack(stack& idle) noexcept {
  if (idle.size_bytes != core.default_stack_size()) {
    idle.next = nullptr;
    core.stacks_of(idle.size_bytes).give(&idle);
    return;
  }
  idle.next = spare_stacks_;
  spare_stacks_ = &idle;
  if (++spare_stacks_count_ <= spare_stacks_limit) {
    return;
  }
  // The hotter half stays.
  stack* last_kept = spare_stacks_;
  for (std::size_t i = 1; i != spare_stacks_limit / 2; ++i) {
    last_kept = last_kept->next;
  }
  spare_stacks_count_ = spare_stacks_limit / 2;
  core.default_stacks().give(std::exchange(last_kept->next, nullptr));
}

fiber_control& worker::take_control() {
  if (free_controls_.first == nullptr) {
    refill_controls(free_controls_);
  }
  return *free_controls_.pop();
}

void worker::give_control(fiber_control& block) noexcept {
  free_controls_.push(&block);
  if (free_controls_.size > free_controls_limit) {
    return_controls(free_controls_, free_controls_limit / 2);
  }
}

void worker::count_ended() noexcept { core.gate().end_on(tally); }

}  // namespace aramid::inline v0::detail
