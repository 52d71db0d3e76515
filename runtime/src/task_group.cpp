#include <aramid/task_group.hpp>

#include <mutex>
#include <stdexcept>
#include <utility>

#include "failure_text.hpp"
#include "group_core.hpp"
#include "log.hpp"
#include "thread_state.hpp"

namespace aramid::inline v0 {

namespace detail {

group_core::group_core(runtime_core* core, on_error policy, std::function<void(std::exception_ptr)> on_failure)
    : core_(core), policy_(policy), on_failure_(std::move(on_failure)) {}

group_core::~group_core() {
  while (failed_first_ != nullptr) {
    std::exchange(failed_first_, failed_first_->group_next)->leave(fiber_control::holder::group);
  }
}

runtime_core& group_core::core() const {
  if (core_ == nullptr) {
    throw std::logic_error("aramid: task_group::spawn: the group was made on a thread that belongs to no runtime");
  }
  return *core_;
}

void group_core::add(fiber_control& child) noexcept {
  const std::lock_guard lock(lock_);
  child.group = this;
  child.logs_unheard = policy_ == on_error::isolate && !on_failure_;
  child.group_previous = nullptr;
  child.group_next = children_;
  if (children_ != nullptr) {
    children_->group_previous = &child;
  }
  children_ = &child;
  ++size_;
  if (cancelled_) {
    stop_list none;  // it has not begun
    child.request_cancel(none);
  }
}

void group_core::unlink(fiber_control& child) noexcept {
  (child.group_previous == nullptr ? children_ : child.group_previous->group_next) = child.group_next;
  if (child.group_next != nullptr) {
    child.group_next->group_previous = child.group_previous;
  }
  child.group_next = nullptr;
  --size_;
}

void group_core::remove(fiber_control& child) noexcept {
  const std::lock_guard lock(lock_);
  unlink(child);
  wake_joiner_if_empty();
}

void group_core::hear_of(const fiber_control& child, bool has_handle) noexcept {
  if (child.outcome != fiber_outcome::threw || policy_ != on_error::isolate) {
    return;
  }
  try {
    if (on_failure_) {
      on_failure_(child.error);
    } else if (!has_handle) {
      log_line("aramid: " + describe(child) + " failed: " + failure_text(child.error));
    }
  } catch (...) {
    log_line("aramid: a task_group's on_failure threw");
  }
}

void group_core::child_ended(fiber_control& child) noexcept {
  const bool failed = child.outcome == fiber_outcome::threw;
  stop_list to_ask;
  const std::lock_guard lock(lock_);
  unlink(child);
  if (failed && policy_ == on_error::cancel_all) {
    {
      const std::lock_guard hold(child.life);
      child.life.add(fiber_control::holder::group);
      child.error_given = true;
    }
    (failed_last_ == nullptr ? failed_first_ : failed_last_->group_next) = &child;
    failed_last_ = &child;
    cancel_locked(to_ask);
  }
  wake_joiner_if_empty();
}

void group_core::wake_joiner_if_empty() noexcept {
  if (size_ == 0 && joiner_) {
    // Delivered under the lock: the joiner takes it before it leaves.
    unpark(std::exchange(joiner_, park_token{}));
  }
}

void group_core::fail_body(std::exception_ptr error) noexcept {
  stop_list to_ask;
  const std::lock_guard lock(lock_);
  body_failed_first_ = failed_first_ == nullptr;
  body_error_ = std::move(error);
  cancel_locked(to_ask);
}

void group_core::cancel() noexcept {
  stop_list to_ask;
  const std::lock_guard lock(lock_);
  cancel_locked(to_ask);
}

void group_core::cancel_locked(stop_list& to_ask) noexcept {
  // Also if the group has been cancelled before: that alone does not concern the body.
  if (body_ != nullptr && failed_first_ != nullptr) {
    body_->cancel();
  }
  if (std::exchange(cancelled_, true)) {
    return;
  }
  for (fiber_control* child = children_; child != nullptr; child = child->group_next) {
    child->request_cancel(to_ask);
  }
}

wake_reason group_core::wait(cancellable may_cancel) noexcept {
  for (;;) {
    parker wait(may_cancel, {"task_group::join", this});
    {
      const std::lock_guard lock(lock_);
      if (size_ == 0) {
        return wake_reason::notified;
      }
      joiner_ = wait.token();
    }
    const wake_reason reason = wait.park();
    const std::lock_guard lock(lock_);
    joiner_ = park_token{};
    if (reason != wake_reason::notified) {
      return reason;
    }
  }
}

std::size_t group_core::size() const noexcept {
  const std::lock_guard lock(lock_);
  return size_;
}

std::vector<std::exception_ptr> group_core::errors() const {
  // The lists only grow while the group lives, so the vector is filled outside of the lock.
  fiber_control* first = nullptr;
  fiber_control* last = nullptr;
  std::exception_ptr of_body;
  bool body_first = false;
  {
    const std::lock_guard lock(lock_);
    first = failed_first_;
    last = failed_last_;
    of_body = body_error_;
    body_first = body_failed_first_;
  }
  std::vector<std::exception_ptr> all;
  if (of_body != nullptr && body_first) {
    all.push_back(of_body);
  }
  for (const fiber_control* each = first; each != nullptr; each = each == last ? nullptr : each->group_next) {
    // One that a join brought into the body is still one error.
    if (each->error == of_body) {
      of_body = nullptr;
      if (body_first) {
        continue;
      }
    }
    all.push_back(each->error);
  }
  if (of_body != nullptr && !body_first) {
    all.push_back(of_body);
  }
  return all;
}

std::exception_ptr group_core::hear_first() noexcept {
  const std::lock_guard lock(lock_);
  heard_ = true;
  if (body_error_ != nullptr && body_failed_first_) {
    return body_error_;
  }
  return failed_first_ != nullptr ? failed_first_->error : body_error_;
}

void group_core::log_unheard() noexcept {
  if (heard_) {
    return;
  }
  for (const fiber_control* each = failed_first_; each != nullptr; each = each->group_next) {
    if (!each->error_heard.load(std::memory_order_relaxed)) {
      log_line("aramid: " + describe(*each) + " failed and nobody joined its group: " + failure_text(each->error));
    }
  }
}

}  // namespace detail

task_group::task_group(on_error policy, std::function<void(std::exception_ptr)> on_failure)
    : core_(new detail::group_core(detail::current_runtime(), policy, std::move(on_failure)),
            [](detail::group_core* core) { delete core; }) {}

task_group::~task_group() {
  core_->cancel();
  (void)core_->wait(cancellable::no);
  core_->log_unheard();
}

void task_group::join() {
  if (const auto* const self = static_cast<detail::fiber_control*>(detail::current_fiber());
      self != nullptr && self->group == core_.get()) {
    throw std::logic_error("aramid: task_group::join: called by a child of the group, which would wait for itself");
  }
  enter_wait();
  if (core_->wait(cancellable::yes) != wake_reason::notified) {
    throw_cancelled();
  }
  if (const std::exception_ptr first = core_->hear_first()) {
    std::rethrow_exception(first);
  }
}

void task_group::cancel() noexcept { core_->cancel(); }

std::size_t task_group::size() const noexcept { return core_->size(); }

std::vector<std::exception_ptr> task_group::errors() const { return core_->errors(); }

void task_group::cover(cancel_scope& body) noexcept { core_->cover(body); }

void task_group::fail_body(std::exception_ptr error) noexcept { core_->fail_body(std::move(error)); }

void task_group::end_and_rethrow(std::vector<std::exception_ptr>& errors) {
  core_->cancel();
  (void)core_->wait(cancellable::no);
  errors = core_->errors();
  if (const std::exception_ptr first = core_->hear_first()) {
    std::rethrow_exception(first);
  }
}

}  // namespace aramid::inline v0
