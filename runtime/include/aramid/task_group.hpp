// Fibers that belong together: none outlives the block, and a failure of one ends them all.
//
//     with_task_group([&](task_group& group) {
//       auto left = group.spawn([&] { return fetch(a); });
//       auto right = group.spawn([&] { return fetch(b); });
//       use(left.join(), right.join());
//     });                                   // all have ended here; the first error has been rethrown
//
// A server keeps its handlers apart instead: `task_group handlers(on_error::isolate);`.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/detail/config.hpp>
#include <aramid/detail/fiber_handle.hpp>
#include <aramid/detail/result_slot.hpp>

namespace aramid::inline v0 {

/// What the failure of one child means for the others.
enum class on_error {
  cancel_all,  ///< they are cancelled (and, in with_task_group, the body); `join` rethrows the first error
  isolate,     ///< nothing: the failure goes to the group's hook, the others live on
};

/// A handle to a child of a group. Dropping it means nothing to the child.
template <class T = void>
class task : public detail::fiber_handle<T> {
public:
  task() noexcept = default;

  /// For task_group::spawn.
  explicit task(detail::fiber_reference control) noexcept : detail::fiber_handle<T>(std::move(control)) {}
};

/// Owns the fibers that are spawned in it. Made and destroyed by one fiber (or plain thread); `spawn` and `cancel` may be
/// called by any, its children included. A child's memory is freed when it ends, unless it failed.
class ARAMID_API task_group {
public:
  /// With on_error::isolate, `on_failure` hears of every failure, on the failing fiber; without one it is logged, unless
  /// somebody holds a handle, whose it is then.
  explicit task_group(on_error policy = on_error::cancel_all,
                      std::function<void(std::exception_ptr)> on_failure = nullptr);

  /// Cancels and joins. Errors that `join` has not rethrown are logged.
  /// Suspends: until every child has ended. Cancels: never (shielded).
  ~task_group();

  task_group(const task_group&) = delete;
  task_group& operator=(const task_group&) = delete;

  /// As aramid::spawn, as a child of this group; in a group that is cancelled the child never runs.
  /// Suspends: never. Throws: std::bad_alloc; std::logic_error if the group was made outside of any runtime.
  template <class Fn, class... Args>
    requires(!std::is_same_v<std::decay_t<Fn>, fiber_options>)
  task<detail::spawn_result<Fn, Args...>> spawn(Fn&& fn, Args&&... args) {
    return spawn(fiber_options{}, std::forward<Fn>(fn), std::forward<Args>(args)...);
  }
  template <class Fn, class... Args>
  task<detail::spawn_result<Fn, Args...>> spawn(const fiber_options& opts, Fn&& fn, Args&&... args) {
    return task<detail::spawn_result<Fn, Args...>>(
        detail::launch(nullptr, core_.get(), opts, std::forward<Fn>(fn), std::forward<Args>(args)...));
  }

  /// Waits for every child, those spawned meanwhile included.
  /// Suspends: until none is left. Cancels: throws aramid::cancelled; the children are not affected (the destructor is what
  ///           ends them).
  /// Throws:   the first error of a child, under on_error::cancel_all; std::logic_error if called by a child.
  /// Threads:  one at a time.
  void join();

  /// Cancels every child, and every one to come. Suspends: never.
  void cancel() noexcept;

  /// Children that have not ended.
  [[nodiscard]] std::size_t size() const noexcept;

  /// The errors so far, the first one first, under on_error::cancel_all.
  [[nodiscard]] std::vector<std::exception_ptr> errors() const;

private:
  template <class Fn>
  friend std::invoke_result_t<Fn, task_group&> with_task_group(std::vector<std::exception_ptr>& errors, Fn&& fn);

  void cover(cancel_scope& body) noexcept;      // what a failing child cancels too
  void fail_body(std::exception_ptr error) noexcept;
  void end_and_rethrow(std::vector<std::exception_ptr>& errors);

  std::unique_ptr<detail::group_core, void (*)(detail::group_core*)> core_;
};

/// Runs `fn(group)`, joins the group, and returns what `fn` returned. What children refer to must outlive the call: the variables of `fn` are gone
/// before the group is joined.
/// Suspends: until `fn` has returned and every child has ended.
/// Cancels:  cancels and joins the children, then throws aramid::cancelled.
/// Returns:  what `fn` returned; in `errors` all failures, the one that is thrown first.
/// Throws:   the first error, whether it came from `fn` or a child: it has cancelled everybody else.
template <class Fn>
std::invoke_result_t<Fn, task_group&> with_task_group(std::vector<std::exception_ptr>& errors, Fn&& fn) {
  using result = std::invoke_result_t<Fn, task_group&>;
  detail::result_slot<result> value;
  cancel_scope body;  // outlives the group, whose failing children cancel it
  task_group group;
  group.cover(body);
  const auto call = [&]() -> result { return std::invoke(std::forward<Fn>(fn), group); };
  try {
    body.run([&] {
      value.fill(call);
      group.join();
    });
  } catch (const cancelled&) {  // from outside
    throw;                      // ~task_group cancels and joins
  } catch (...) {
    group.fail_body(std::current_exception());
  }
  group.end_and_rethrow(errors);
  return value.take();
}

/// As above, for whom the first error is enough.
template <class Fn>
std::invoke_result_t<Fn, task_group&> with_task_group(Fn&& fn) {
  std::vector<std::exception_ptr> errors;
  return with_task_group(errors, std::forward<Fn>(fn));
}

}  // namespace aramid::inline v0
