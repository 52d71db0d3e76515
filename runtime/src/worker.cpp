#include "worker.hpp"

#include <new>
#include <utility>

#include "execution_switch.hpp"
#include "runtime_core.hpp"
#include "thread_state.hpp"

namespace aramid::inline v0::detail {

// What every switch runs through is inlined into park, yield and the stack loop: a call would cost as much as it does.
#define ARAMID_HOT __attribute__((always_inline)) inline

/// The context of every fiber stack: runs its occupants one after another.
struct stack_loop {
  [[noreturn]] static void main(void* argument) {
    stack& self = *static_cast<stack*>(argument);
    for (;;) {
      self.context.on->arrive();
      worker* w = nullptr;
      do {
        w = &self.occupant->run_to_end();
      } while (succeed(*w, self));
    }
  }

  /// Returns true if a fresh fiber has taken the stack over; else leaves the stack as spare and returns when it is used again.
  static bool succeed(worker& w, stack& self) noexcept {
    fiber_control* const next = w.pick();
    if (next != nullptr && next->bound == nullptr && next->stack_size_bytes == self.size_bytes) {
      w.occupy(*next, self);
      return true;
    }
    w.left_ = worker::left_by::ended;
    w.left_stack_ = &self;
    (void)switch_to(w, self.context, next != nullptr ? w.enter(*next) : w.scheduler());
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
  if (ARAMID_UNLIKELY(--looks_in_ % 8 == 0)) {
    return pick_eighth();
  }
  return pick_woken_first();
}

fiber_control* worker::pick_eighth() noexcept {
  if (stepped_) {
    looks_in_ = 0;
  }
  if (looks_in_ == 0) {
    return nullptr;
  }
  // Fresh and pinned fibers get a turn between woken ones: a full ring must not keep them from ever running.
  if (fiber_control* const next = looks_in_ % 16 == 0 ? inbox_.pop() : fresh_.pop_newest()) {
    return next;
  }
  return pick_woken_first();
}

ARAMID_HOT fiber_control* worker::pick_woken_first() noexcept {
  if (fiber_control* const next = lifo_runs_ < lifo_runs_limit ? lifo_.take() : nullptr) {
    ++lifo_runs_;
    return next;
  }
  lifo_runs_ = 0;
  if (fiber_control* const next = ring_.pop()) {
    return next;
  }
  return pick_rest();
}

fiber_control* worker::pick_rest() noexcept {
  if (fiber_control* const next = lifo_.take()) {
    return next;
  }
  if (fiber_control* const next = inbox_.pop()) {
    return next;
  }
  return fresh_.pop_newest();
}

ARAMID_HOT void worker::note_running(fiber_control& next) noexcept {
  if (next.on != this) {
    if (next.on != nullptr) {
      counters.migrations.add();
    }
    next.on = this;
  }
  counters.switches.add();
  state_->current = &next;
}

ARAMID_HOT void worker::occupy(fiber_control& next, stack& on) noexcept {
  on.occupant = &next;
  next.bound = &on;
  if (next.pinned) {
    next.home = this;
  }
  note_running(next);
}

ARAMID_HOT execution& worker::enter(fiber_control& next) noexcept {
  if (ARAMID_LIKELY(next.bound != nullptr)) {
    note_running(next);
    return next.bound->context;
  }
  return bind(next);
}

execution& worker::bind(fiber_control& next) noexcept {
  try {
    stack& given = take_stack(next.stack_size_bytes);
    occupy(next, given);
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

ARAMID_HOT void worker::leave(fiber_control& self, left_by how, fiber_control* next) noexcept {
  left_ = how;
  left_fiber_ = &self;
  execution& from = self.bound->context;
  switch_to(*this, from, next != nullptr ? enter(*next) : scheduler()).arrive();
}

ARAMID_HOT void worker::arrive() noexcept {
  switch (left_) {
    case left_by::scheduler:
      break;
    case left_by::yielded:
      if (left_fiber_->pinned) {
        inbox_.push(*left_fiber_);
      } else {
        push_ring(*left_fiber_);
      }
      break;
    case left_by::parked:
      if (fiber_control& fiber = *left_fiber_; fiber.commit()) {
        fiber.resume();
      }
      break;
    case left_by::ended:
      give_stack(*left_stack_);
      break;
  }
}

void worker::park(fiber_control& self) noexcept { leave(self, left_by::parked, pick()); }

void worker::yield(fiber_control& self) noexcept {
  fiber_control* const next = pick();
  if (next == nullptr && looks_in_ != 0) {
    return;  // nobody else is ready, and the scheduler is not due
  }
  leave(self, left_by::yielded, next);
}

void worker::run_from_scheduler(fiber_control& next) noexcept {
  left_ = left_by::scheduler;
  execution& to = enter(next);
  if (&to != &scheduler_) {
    (void)switch_to(*this, scheduler_, to);
    arrive();
  }
  if (unstartable_ != nullptr) {
    std::exchange(unstartable_, nullptr)->fail_to_start(*this, std::exchange(unstartable_why_, nullptr));
  }
}

// --- queues --------------------------------------------------------------------------------------------------------

ARAMID_HOT void worker::push_ring(fiber_control& fiber) noexcept {
  if (ARAMID_UNLIKELY(!ring_.try_push(&fiber))) {
    push_full_ring(fiber);
  }
}

void worker::push_full_ring(fiber_control& fiber) noexcept {
  try {
    ring_.push(&fiber);
  } catch (const std::bad_alloc&) {
    core.injection().push(fiber);  // needs no memory
  }
}

void worker::push_fresh(fiber_control& fiber) noexcept {
  // Before the push: whoever sees the fiber's end has then seen its birth (runtime_core.hpp).
  counters.spawned.add();
  try {
    fresh_.push(&fiber);
  } catch (const std::bad_alloc&) {
    core.injection().push(fiber);
  }
  notify_peer();
}

void worker::push_woken(fiber_control& fiber) noexcept {
  if (fiber_control* const displaced = lifo_.put(&fiber)) {
    push_ring(*displaced);
    notify_peer();
  }
}

void worker::push_batch(waiter* first, std::size_t count) noexcept {
  while (first != nullptr) {
    push_ring(static_cast<fiber_control&>(*std::exchange(first, first->next)));
  }
  // One of them this worker will run itself.
  if (count > 1 || ring_.size() > 1) {
    notify_peer();
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
  while (!core.exiting()) {
    if (!turn()) {
      sleep(time_point::max());
    }
  }
  current_driver().drain();
  state_->on = nullptr;
}

bool worker::turn() noexcept {
  const bool due = looks_in_ == 0;
  look_around(due);
  // The oldest now and then: newest-first alone could leave it for ever.
  fiber_control* next = due ? fresh_.take_oldest() : nullptr;
  if (next == nullptr) {
    next = pick_woken_first();
  }
  if (next == nullptr) {
    next = core.injection().pop();
  }
  if (next == nullptr) {
    next = search();
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
    looks_in_ = turns_between_looks;
    mine.poll(time_point::min(), batch);
    if (fiber_control* const from_outside = core.injection().pop()) {
      push_ring(*from_outside);
    }
    core.help_the_stuck(*this);
  }
  batch.commit();
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
    prepare(taken->context, taken->bottom, taken->size_bytes, &stack_loop::main, taken);
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

void worker::count_ended() noexcept {
  // seq_cst: a store-buffer pair with runtime_core's `waiting_`: either `stop` counts this end, or we see that it waits.
  ended_.fetch_add(1, std::memory_order_seq_cst);
  if (ARAMID_UNLIKELY(core.ends_awaited())) {
    core.note_end();
  }
}

}  // namespace aramid::inline v0::detail
