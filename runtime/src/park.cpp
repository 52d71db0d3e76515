// The public face of park_word: how fibers and threads suspend, and how they are made to run again.

#include <aramid/park.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

#include <aramid/driver.hpp>
#include <aramid/fiber.hpp>

#include "assert.hpp"
#include "fiber_control.hpp"
#include "futex.hpp"
#include "runtime_core.hpp"
#include "thread_state.hpp"
#include "timer_wheel.hpp"
#include "waiter.hpp"
#include "worker.hpp"

namespace aramid::inline v0 {

using detail::current_waiter;
using detail::fiber_control;
using detail::waiter;

namespace detail {

bool waiter::commit() noexcept {
  const park_word<>::wait open = word.wait_in_hand();
  if (ARAMID_UNLIKELY(word.commit(open) == park_word<>::committed::delivered)) {
    return true;
  }
  // From here on somebody else may have made the waiter run, and even wait again: hence the claim by epoch.
  // seq_cst: step 4 of park_word.hpp.
  if (ARAMID_UNLIKELY(cancel_pending_.load(std::memory_order_seq_cst)) && open.cancellable() &&
      word.claim(open.epoch(), wake_reason::cancelled)) {
    return word.deliver();
  }
  return false;
}

void waiter::resume() noexcept {
  if (is_fiber()) {
    auto& fiber = static_cast<fiber_control&>(*this);
    fiber.core->make_ready(fiber);
  } else {
    futex_wake(word.futex_address());
  }
}

void waiter::suspend(park_token token, time_point deadline) noexcept {
  // The deadlines of scopes count only where a cancellation may end the wait.
  const time_point scopes = word.cancellable() ? nearest_deadline_ : time_point::max();
  const time_point until = std::min(deadline, scopes);
  if (is_fiber()) {
    auto& self = static_cast<fiber_control&>(*this);
    ARAMID_CHECK_STD_LOCKS(self, self.wait.operation.load(std::memory_order_relaxed));
    timer_entry timer;
    if (until != time_point::max()) {
      timer.deadline = until;
      timer.token = token;
      self.on->timers().arm(timer);
    }
    self.on->park(self);
    // Step 3 of timer_wheel.hpp.
    if (until != time_point::max() && word.reason() != wake_reason::timed_out) {
      timer_wheel::disarm(timer);
    }
    budget = full_budget;
  } else if (!commit()) {
    // Once somebody has won, only the delivery ends the sleep.
    time_point limit = until;
    for (std::uint32_t value = 0; word.must_sleep(value);) {
      if (limit != time_point::max() && clock::now() >= limit) {
        if (word.claim(token.epoch, wake_reason::timed_out)) {
          (void)word.deliver();
          break;
        }
        limit = time_point::max();
      } else {
        futex_wait(word.futex_address(), value, limit);
      }
    }
  }
  if (word.reason() == wake_reason::timed_out && scopes <= deadline) {
    // It was a scope's deadline: a cancellation.
    expire(std::max(scopes, rough_now()));
    word.set_reason(wake_reason::cancelled);
  }
}

void count_ready() noexcept {
  waiter& self = current_waiter();
  if (self.budget > 0) {
    --self.budget;
  }
}

}  // namespace detail

parker::parker(cancellable may_cancel, wait_note note) noexcept {
  const auto [self, on] = detail::what_runs();
  // While an exception is in flight nothing may be thrown, so the wait must not be ended for nothing either (law 1).
  const bool unwinding = ARAMID_LIKELY(on != nullptr) ? on->exception_globals->uncaught != 0 : std::uncaught_exceptions() != 0;
  const bool may = may_cancel == cancellable::yes && !unwinding;
  if (ARAMID_LIKELY(self->is_fiber())) {
    static_cast<fiber_control*>(self)->wait.begin(note, on->rough_now());
  }
  token_ = {self, self->word.begin(may)};
}

wake_reason parker::park() noexcept { return park_until(time_point::max()); }

wake_reason parker::park_until(time_point deadline) noexcept {
  ARAMID_ASSERT(open_, "parker: parked twice");
  open_ = false;
  waiter& self = *token_.who;
  if (ARAMID_LIKELY(!self.word.take_delivered())) {
    if (ARAMID_LIKELY(self.is_fiber() && deadline == time_point::max() && !self.has_deadline())) {
      auto& fiber = static_cast<fiber_control&>(self);
      ARAMID_CHECK_STD_LOCKS(fiber, fiber.wait.operation.load(std::memory_order_relaxed));
      fiber.on->park(fiber);
      fiber.budget = waiter::full_budget;
    } else {
      self.suspend(token_, deadline);
    }
  }
  return self.word.reason();
}

bool parker::abandon() noexcept {
  if (!token_.who->word.abandon()) {
    return false;
  }
  open_ = false;
  return true;
}

bool claim(park_token token) noexcept {
  return token.who->word.claim(token.epoch, wake_reason::notified);
}

void deliver(park_token token) noexcept {
  if (token.who->word.deliver()) {
    token.who->resume();
  }
}

namespace {

/// Out of line, as a last call: what is usual then has nothing to save.
__attribute__((noinline)) void enter_wait_with_care(waiter& self) {
  if (self.must_look() && self.must_throw()) {
    throw_cancelled();
  }
  if (self.budget > 1) {
    --self.budget;
    return;
  }
  self.budget = waiter::full_budget;
  if (self.is_fiber()) {
    auto& fiber = static_cast<fiber_control&>(self);
    ARAMID_CHECK_STD_LOCKS(fiber, "a wait that gives way");
    fiber.on->yield(fiber);
  }
}

}  // namespace

void enter_wait() {
  waiter& self = current_waiter();
  if (ARAMID_UNLIKELY(self.must_look() || self.budget <= 1)) {
    return enter_wait_with_care(self);
  }
  --self.budget;
}

namespace detail {
namespace {

/// Out of line, as a last call.
__attribute__((noinline)) driver* enter_io_with_care(driver_maker make) {
  enter_wait();
  return driver_for_io(make);
}

}  // namespace

driver* enter_io(driver_maker make) {
  const auto [self, on] = what_runs();
  driver* const made = ARAMID_LIKELY(on != nullptr && self->is_fiber()) ? on->driver_for_io() : nullptr;
  if (ARAMID_UNLIKELY(made == nullptr || self->must_look() || self->budget <= 1)) {
    return enter_io_with_care(make);
  }
  --self->budget;
  return made;
}

}  // namespace detail

void throw_cancelled() { throw cancelled(); }

bool wake_batch::add(park_token token) noexcept { return add(token, wake_reason::notified); }

bool wake_batch::add(park_token token, wake_reason reason) noexcept {
  if (!token.who->word.claim(token.epoch, reason)) {
    return false;
  }
  add_claimed(token);
  return true;
}

void wake_batch::add_claimed(park_token token) noexcept {
  if (!token.who->word.deliver()) {
    return;  // not suspended yet: it will run on by itself
  }
  waiter& woken = *token.who;
  // A batch carries fibers of this worker's runtime; everybody else is woken on the spot.
  const detail::worker* const here = detail::current_worker();
  if (!woken.is_fiber() || here == nullptr || static_cast<fiber_control&>(woken).core != &here->core ||
      static_cast<fiber_control&>(woken).home != nullptr) {
    return woken.resume();
  }
  woken.next = nullptr;
  (last_ == nullptr ? first_ : last_->next) = &woken;
  last_ = &woken;
  ++size_;
}

void detail::prefetch(const waiter* who) noexcept {
  // A thread's waiter has no such line: then something else is fetched. To ask which it is would wait for the first.
  constexpr std::size_t line = alignof(fiber_wait_line);
  constexpr std::size_t wait_line = (sizeof(waiter) + sizeof(execution) + line - 1) / line * line;  // behind these two of a fiber_control
  __builtin_prefetch(who, 1);
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(who) + wait_line), 1);
}

void wake_batch::commit() noexcept {
  if (first_ != nullptr) {
    const std::size_t size = size_;
    detail::current_worker()->push_batch(take(), size);
  }
}

detail::waiter* wake_batch::take() noexcept {
  last_ = nullptr;
  size_ = 0;
  return std::exchange(first_, nullptr);
}

wake_batch::~wake_batch() { commit(); }

}  // namespace aramid::inline v0
