// What can be done with a fiber from outside: asked, cancelled, detached, observed and joined.
#include <aramid/detail/fiber_handle.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "control_pool.hpp"
#include "failure_text.hpp"
#include "fiber_control.hpp"
#include "log.hpp"
#include "thread_state.hpp"

namespace aramid::inline v0::detail {

void release_fiber(fiber_control* fiber) noexcept { fiber->release_handle(); }

void detach_fiber(fiber_control* fiber) noexcept {
  const std::lock_guard lock(fiber->life);
  fiber->detached = true;
  if (fiber->life.done() && fiber->outcome == fiber_outcome::threw) {
    terminate_detached(*fiber);
  }
}

void cancel_fiber(fiber_control* fiber) noexcept {
  stop_list to_ask;
  fiber->request_cancel(to_ask);
}

bool fiber_done(const fiber_control* fiber) noexcept { return fiber->life.done(); }

fiber_id id_of(const fiber_control* fiber) noexcept { return fiber->id; }

void on_fiber_done(fiber_control* fiber, std::function<void()> callback) {
  auto made = std::make_unique<done_callback>();
  made->call = std::move(callback);
  {
    const std::lock_guard lock(fiber->life);
    if (!fiber->life.done()) {
      made->next = std::move(fiber->callbacks);
      fiber->callbacks = std::move(made);
    }
  }
  if (made != nullptr) {
    made->call();
  }
}

bool observe_end(fiber_control* fiber, join_observer& observer) noexcept {
  const std::lock_guard lock(fiber->life);
  if (fiber->life.done()) {
    return false;
  }
  observer.next = fiber->observers;
  fiber->observers = &observer;
  return true;
}

void stop_observing(fiber_control* fiber, join_observer& observer) noexcept {
  const std::lock_guard lock(fiber->life);
  for (join_observer** link = &fiber->observers; *link != nullptr; link = &(*link)->next) {
    if (*link == &observer) {
      *link = observer.next;
      break;
    }
  }
}

namespace {

/// Waits for `fiber`'s end. Returns who ended the wait; `notified` if it is done.
wake_reason observe(fiber_control& fiber, time_point deadline, cancellable may_cancel) noexcept {
  join_observer self;
  parker wait(may_cancel, {"fiber::join", &fiber});
  self.token = wait.token();
  if (!observe_end(&fiber, self)) {
    return wake_reason::notified;
  }
  const wake_reason reason = wait.park_until(deadline);
  if (reason != wake_reason::notified) {
    stop_observing(&fiber, self);
  }
  return reason;
}

}  // namespace

void check_joinable(const fiber_control* fiber) {
  if (current_fiber() == fiber) {
    throw std::logic_error("aramid: fiber::join: a fiber cannot join itself");
  }
  if (ARAMID_UNLIKELY(!fiber->life.done() && of_another_process(*fiber))) {
    throw std::logic_error("aramid: fiber::join: the fiber is one of the process that forked this one");
  }
}

bool wait_fiber(fiber_control* fiber, time_point deadline) {
  check_joinable(fiber);
  enter_wait();
  // acquire: pairs with announce_end.
  if (fiber->life.done()) {
    return true;
  }
  const wake_reason reason = observe(*fiber, deadline, cancellable::yes);
  if (reason == wake_reason::cancelled) {
    throw_cancelled();
  }
  return reason == wake_reason::notified;
}

void check_outcome(fiber_control* fiber) {
  switch (fiber->outcome) {
    case fiber_outcome::threw: {
      fiber->error_heard.store(true, std::memory_order_relaxed);
      // The joiner's from now on, so that it dies where it is handled; of a group's child the group keeps it too.
      const std::exception_ptr error = fiber->group == nullptr ? std::move(fiber->error) : fiber->error;
      std::rethrow_exception(error);
    }
    case fiber_outcome::cancelled:
      throw fiber_cancelled();
    case fiber_outcome::running:
    case fiber_outcome::returned:
      break;
  }
}

void cancel_and_join_fiber(fiber_control* fiber) noexcept {
  if (current_fiber() == fiber) {
    // It would wait for itself for ever, and a destructor cannot throw.
    log_line("aramid: " + describe(*fiber) + " destroyed its own handle, which would join it");
    std::terminate();
  }
  if (!fiber->life.done() && of_another_process(*fiber)) {
    return;
  }
  cancel_fiber(fiber);
  if (!fiber->life.done()) {
    (void)observe(*fiber, time_point::max(), cancellable::no);
  }
  if (fiber->outcome == fiber_outcome::threw && !fiber->error_heard.load(std::memory_order_relaxed)) {
    log_line("aramid: " + describe(*fiber) + " failed and nobody joined it: " + failure_text(fiber->error));
    fiber->error_heard.store(true, std::memory_order_relaxed);
  }
}

bool on_fiber() noexcept { return current_fiber() != nullptr; }

}  // namespace aramid::inline v0::detail
