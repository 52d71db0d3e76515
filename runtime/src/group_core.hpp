// The children of a task_group: an intrusive list under one lock.
//
// A child is linked when it is born and unlinked when it ends; one that failed (under cancel_all) moves to the list of the
// failed with a reference of its own, so that errors need no memory. The last touch that an ending child gives the group
// is the release of its lock, and whoever waits for the group's end takes that lock before it leaves: so the group may
// then be destroyed.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <vector>

#include <aramid/detail/spin_lock.hpp>
#include <aramid/task_group.hpp>

#include "fiber_control.hpp"

namespace aramid::inline v0::detail {

class group_core {
public:
  group_core(runtime_core* core, on_error policy, std::function<void(std::exception_ptr)> on_failure);
  ~group_core();

  /// The runtime that children run on. Throws std::logic_error if the group was made outside of any.
  [[nodiscard]] runtime_core& core() const;

  void add(fiber_control& child) noexcept;
  /// Undoes `add`: the child was never started.
  void remove(fiber_control& child) noexcept;
  /// Tells the hook of a failure under `isolate`, or the log; unless somebody holds a handle, whose it is then.
  void hear_of(const fiber_control& child, bool has_handle) noexcept;
  void child_ended(fiber_control& child) noexcept;

  void cover(cancel_scope& body) noexcept { body_ = &body; }
  void fail_body(std::exception_ptr error) noexcept;
  void cancel() noexcept;

  /// Returns who ended the wait; `notified` if no child is left.
  wake_reason wait(cancellable may_cancel) noexcept;

  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] std::vector<std::exception_ptr> errors() const;
  /// The first error, or nullptr. All are then considered heard.
  [[nodiscard]] std::exception_ptr hear_first() noexcept;
  void log_unheard() noexcept;

private:
  void unlink(fiber_control& child) noexcept;
  void cancel_locked(stop_list& to_ask) noexcept;
  void wake_joiner_if_empty() noexcept;

  runtime_core* const core_;
  const on_error policy_;
  const std::function<void(std::exception_ptr)> on_failure_;
  cancel_scope* body_ = nullptr;  // set before the first child

  mutable spin_lock lock_;  // guards everything below
  fiber_control* children_ = nullptr;
  std::size_t size_ = 0;
  fiber_control* failed_first_ = nullptr;  // through group_next, in the order of failure
  fiber_control* failed_last_ = nullptr;
  std::exception_ptr body_error_;
  bool body_failed_first_ = false;
  bool cancelled_ = false;
  bool heard_ = false;
  park_token joiner_;
};

}  // namespace aramid::inline v0::detail
