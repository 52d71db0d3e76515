// Fibers: what std::thread is to the kernel's threads, at a thousandth of the price.
//
//     fiber<int> answer = spawn([] { return 42; });
//     int value = answer.join();
//
// A fiber that suspends may wake on another thread (unless pinned): keep nothing per-thread across a suspension.
#pragma once

#include <chrono>
#include <functional>
#include <stop_token>
#include <string_view>
#include <type_traits>
#include <utility>

#include <aramid/cancel.hpp>
#include <aramid/detail/config.hpp>
#include <aramid/detail/fiber_handle.hpp>

namespace aramid::inline v0 {

/// Owns a fiber: nothing that is spawned outlives its handle unheard, unless detached.
template <class T = void>
class [[nodiscard]] fiber : public detail::fiber_handle<T> {
public:
  fiber() noexcept = default;

  /// For the functions that spawn.
  explicit fiber(detail::fiber_reference control) noexcept
      : detail::fiber_handle<T>(std::move(control)) {}

  fiber(fiber&&) noexcept = default;

  /// Cancels and joins what it stood for, then takes over. Suspends: as the destructor.
  fiber& operator=(fiber&& other) noexcept {
    if (this != &other) {
      end();
      this->fiber_ = std::move(other.fiber_);
    }
    return *this;
  }

  /// Cancels and joins. A failure that nobody joined for is logged.
  /// Suspends: until the fiber has ended. Cancels: never (shielded).
  ~fiber() { end(); }

  /// Lets the fiber go on without a handle. Its failure then terminates the program, by name.
  void detach() {
    detail::detach_fiber(this->get("detach"));
    this->fiber_.reset();
  }

private:
  void end() noexcept {
    if (this->fiber_ != nullptr) {
      detail::cancel_and_join_fiber(this->fiber_.get());
      this->fiber_.reset();
    }
  }
};

/// Starts a fiber that runs `fn(args…)`, on the runtime of the calling fiber (or the one the thread has entered).
/// Suspends: never; the new fiber runs when the caller suspends, or on another worker.
/// Owns:     copies of `fn` and `args`, as std::thread; they are destroyed when the fiber ends.
/// Throws:   std::bad_alloc; std::logic_error if the caller belongs to no runtime.
/// Threads:  any.
template <class Fn, class... Args>
  requires(!std::is_same_v<std::decay_t<Fn>, fiber_options>)
fiber<detail::spawn_result<Fn, Args...>> spawn(Fn&& fn, Args&&... args) {
  return fiber<detail::spawn_result<Fn, Args...>>(
      detail::launch(nullptr, nullptr, {}, std::forward<Fn>(fn), std::forward<Args>(args)...));
}

/// As above, with a name, a stack size, or pinned.
/// Throws: std::invalid_argument on an absurd stack size.
template <class Fn, class... Args>
fiber<detail::spawn_result<Fn, Args...>> spawn(const fiber_options& options, Fn&& fn, Args&&... args) {
  return fiber<detail::spawn_result<Fn, Args...>>(
      detail::launch(nullptr, nullptr, options, std::forward<Fn>(fn), std::forward<Args>(args)...));
}

/// About the calling fiber. Called from a thread that is none, `yield` and the sleeps act on the thread.
namespace this_fiber {

/// Lets the other ready fibers of this worker run first.
/// Suspends: if there are any. Cancels: throws aramid::cancelled.
ARAMID_API void yield();

/// Suspends until `deadline`. Cancels: throws aramid::cancelled.
ARAMID_API void sleep_until(time_point deadline);

/// Suspends for `d`; a duration of zero or less is a `yield`. Cancels: throws aramid::cancelled.
template <class Rep, class Period>
void sleep_for(std::chrono::duration<Rep, Period> d) {
  if (d <= d.zero()) {
    yield();
  } else {
    sleep_until(detail::deadline_after(detail::clamped(d)));
  }
}

/// A cancellation point and a chance for others to run, for long computations.
/// Suspends: now and then, to give way. Cancels: throws aramid::cancelled.
inline void checkpoint() { enter_wait(); }

/// 0 on a thread that is no fiber.
[[nodiscard]] ARAMID_API fiber_id get_id() noexcept;

/// The name it was spawned with, or "". Valid while the fiber lives.
[[nodiscard]] ARAMID_API std::string_view name() noexcept;

/// Whether the fiber is cancelled: the next wait would throw. Suspends: never.
[[nodiscard]] ARAMID_API bool cancel_requested() noexcept;

/// For code that knows std::stop_token: one that is asked to stop when the fiber is cancelled as a whole (by its handle, its group or
/// the end of its runtime; scopes and deadlines inside the fiber end its waits only). Its source is made at the first call. What listens
/// to it is called by whoever cancels, and must not suspend nor stop a runtime. On a thread that is no fiber: a token that is never asked.
/// Suspends: never. Throws: std::bad_alloc.
[[nodiscard]] ARAMID_API std::stop_token get_stop_token();

}  // namespace this_fiber

/// As `spawn`, but the fiber waits for `delay` before it calls anything. Cancelled meanwhile, it never does. threading.Timer, gevent's
/// spawn_later.
template <class Rep, class Period, class Fn, class... Args>
  requires(!std::is_same_v<std::decay_t<Fn>, fiber_options>)
fiber<detail::spawn_result<Fn, Args...>> spawn_after(std::chrono::duration<Rep, Period> delay, Fn&& fn, Args&&... args) {
  return spawn_after(fiber_options{}, delay, std::forward<Fn>(fn), std::forward<Args>(args)...);
}

/// As above, with a name, a stack size, or pinned.
template <class Rep, class Period, class Fn, class... Args>
fiber<detail::spawn_result<Fn, Args...>> spawn_after(const fiber_options& options, std::chrono::duration<Rep, Period> delay, Fn&& fn,
                                                     Args&&... args) {
  return spawn(
      options,
      [start = detail::deadline_after(detail::clamped(delay))](auto&& call, auto&&... with) -> decltype(auto) {
        this_fiber::sleep_until(start);
        return std::invoke(std::forward<decltype(call)>(call), std::forward<decltype(with)>(with)...);
      },
      std::forward<Fn>(fn), std::forward<Args>(args)...);
}

}  // namespace aramid::inline v0
