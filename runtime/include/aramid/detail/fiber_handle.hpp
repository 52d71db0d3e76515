// What fiber<T>, task<T> and the spawning functions share: a counted reference to a fiber's control block, and the typed
// box that its callable and its result live in. The control block itself is private to the library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <aramid/detail/config.hpp>
#include <aramid/detail/result_slot.hpp>
#include <aramid/park.hpp>
#include <aramid/timeout.hpp>

namespace aramid::inline v0 {

/// How a fiber differs from the others.
struct fiber_options {
  /// For people: logs, dumps, gdb. Copied; cut at 31 bytes.
  std::string_view name = {};
  /// Address space of its stack, rounded up; 0 is the runtime's default. Only touched pages cost memory.
  std::size_t stack_size_bytes = 0;
  /// Whether it stays on the worker that runs it first.
  bool pinned = false;
};

/// Names a fiber for people and logs; unique within the process.
using fiber_id = std::uint64_t;

/// What `join` throws when the fiber it joins was cancelled. (`cancelled` itself is always one's own.)
class ARAMID_EXCEPTION fiber_cancelled : public std::runtime_error {
public:
  fiber_cancelled() : std::runtime_error("aramid: the joined fiber was cancelled") {}
  ~fiber_cancelled() override;
};

namespace detail {

class fiber_control;
class runtime_core;
class group_core;
struct handle_access;

/// How the library treats the box behind `fiber_storage`.
struct fiber_ops {
  void (*run)(void* box);             // calls the callable and keeps its result
  void (*drop_callable)(void* box);   // after `run`, or in its place if the fiber was cancelled before; null if trivial
  void (*drop_result)(void* box);     // only after a `run` that returned; null if trivial
};

/// Somebody who waits for a fiber's end. In the joiner's frame; linked under the lock of the fiber's life, and once claimed,
/// by who announces the end, until that delivers.
struct join_observer {
  park_token token;
  join_observer* next = nullptr;
  bool claimed = false;  // written by who announces the end, if that is what ended the wait
};

enum class fiber_outcome : std::uint8_t { running, returned, threw, cancelled };

// Lifetime: new_fiber gives two references, one to the runtime until the fiber has ended and one to the caller.
// `core` may be null: the runtime of the calling fiber, or the one its thread has entered.
ARAMID_API fiber_control* new_fiber(runtime_core* core, group_core* group, const fiber_ops& ops,
                                    std::size_t box_size, std::size_t box_align,
                                    const fiber_options& options);
ARAMID_API void* fiber_storage(fiber_control* fiber) noexcept;
ARAMID_API void start_fiber(fiber_control* fiber) noexcept;
ARAMID_API void abandon_new_fiber(fiber_control* fiber) noexcept;  // its callable's copy threw
ARAMID_API void release_fiber(fiber_control* fiber) noexcept;
ARAMID_API void detach_fiber(fiber_control* fiber) noexcept;
ARAMID_API void cancel_fiber(fiber_control* fiber) noexcept;
ARAMID_API void cancel_and_join_fiber(fiber_control* fiber) noexcept;
ARAMID_API bool fiber_done(const fiber_control* fiber) noexcept;
ARAMID_API fiber_id id_of(const fiber_control* fiber) noexcept;
ARAMID_API void on_fiber_done(fiber_control* fiber, std::function<void()> callback);
/// Waits for the end; false if `deadline` came first. Throws std::logic_error on a self-join.
ARAMID_API bool wait_fiber(fiber_control* fiber, time_point deadline);
/// Throws std::logic_error unless the caller can wait for the end of `fiber`, or that has come.
ARAMID_API void check_joinable(const fiber_control* fiber);
/// Links `observer`, whose token is set. Returns false if the fiber has ended.
ARAMID_API bool observe_end(fiber_control* fiber, join_observer& observer) noexcept;
ARAMID_API void stop_observing(fiber_control* fiber, join_observer& observer) noexcept;
/// Returns if the fiber returned; else throws what it threw, or fiber_cancelled.
ARAMID_API void check_outcome(fiber_control* fiber);

struct release_reference {
  void operator()(fiber_control* fiber) const noexcept { release_fiber(fiber); }
};
using fiber_reference = std::unique_ptr<fiber_control, release_reference>;

/// The result stands first, so that its place does not depend on the callable's type.
template <class T, class Fn>
struct fiber_box {
  union {
    result_slot<T> result;
  };
  union {
    Fn fn;
  };

  template <class F>
  explicit fiber_box(F&& f) : fn(std::forward<F>(f)) {}
  ~fiber_box() {}

  static void run(void* box) {
    auto* self = static_cast<fiber_box*>(box);
    ::new (static_cast<void*>(&self->result)) result_slot<T>();
    try {
      self->result.fill(self->fn);
    } catch (...) {
      self->result.~result_slot<T>();
      throw;
    }
  }
  static void drop_callable(void* box) { static_cast<fiber_box*>(box)->fn.~Fn(); }
  static void drop_result(void* box) { static_cast<fiber_box*>(box)->result.~result_slot<T>(); }

  static constexpr fiber_ops ops{&run, std::is_trivially_destructible_v<Fn> ? nullptr : &drop_callable,
                                 std::is_trivially_destructible_v<result_slot<T>> ? nullptr : &drop_result};
};

template <class Fn, class... Args>
using spawn_result = std::invoke_result_t<std::decay_t<Fn>, std::decay_t<Args>...>;

/// Boxes `fn`, binds it to a new fiber and makes that runnable.
template <class Fn>
fiber_reference launch(runtime_core* core, group_core* group, const fiber_options& options, Fn&& fn) {
  using callable = std::decay_t<Fn>;
  using box = fiber_box<spawn_result<Fn>, callable>;
  fiber_control* const fiber = new_fiber(core, group, box::ops, sizeof(box), alignof(box), options);
  if constexpr (std::is_nothrow_constructible_v<callable, Fn>) {
    ::new (fiber_storage(fiber)) box(std::forward<Fn>(fn));
  } else {
    try {
      ::new (fiber_storage(fiber)) box(std::forward<Fn>(fn));
    } catch (...) {
      abandon_new_fiber(fiber);
      throw;
    }
  }
  start_fiber(fiber);
  return fiber_reference(fiber);
}

/// As above for `fn(args…)`, copied as std::thread copies.
template <class Fn, class Arg, class... Args>
fiber_reference launch(runtime_core* core, group_core* group, const fiber_options& options, Fn&& fn, Arg&& arg,
                       Args&&... args) {
  return launch(core, group, options,
                [fn = std::decay_t<Fn>(std::forward<Fn>(fn)), arg = std::decay_t<Arg>(std::forward<Arg>(arg)),
                 ... args = std::decay_t<Args>(std::forward<Args>(args))]() mutable -> decltype(auto) {
                  return std::invoke(std::move(fn), std::move(arg), std::move(args)...);
                });
}

/// What can be asked of a fiber through any handle.
template <class T>
class fiber_handle {
public:
  /// Whether the handle still stands for a fiber: not after a successful `join`, `detach`, or a move from it.
  [[nodiscard]] bool joinable() const noexcept { return fiber_ != nullptr; }

  /// Waits for the fiber's end and gives up the handle.
  /// Suspends: until the fiber has ended.
  /// Cancels:  throws aramid::cancelled; the fiber is not affected and the handle still stands for it.
  /// Returns:  the fiber's result, moved.
  /// Throws:   what the fiber threw; fiber_cancelled if it was cancelled; std::logic_error on a self-join and
  ///           on a handle that stands for no fiber.
  /// Threads:  any fiber or thread; one at a time.
  /// Ordering: everything the fiber did happens before the return.
  T join() {
    wait_fiber(get("join"), time_point::max());
    return finish();
  }

  /// Waits for the fiber's end, in whatever way; the handle still stands for it, and `join` does not wait then.
  /// Suspends, cancels, threads, ordering: as `join`.
  /// Throws:   std::logic_error as `join`.
  void wait() const { wait_fiber(get("wait"), time_point::max()); }

  /// As `join`, but no longer than `d`: then the handle still stands for the fiber.
  /// Returns: the result as an optional, or for a fiber of nothing whether it has ended.
  template <class Rep, class Period>
  auto join_for(std::chrono::duration<Rep, Period> d) {
    return join_until(deadline_after(clamped(d)));
  }

  /// As `join_for`, until `deadline`.
  auto join_until(time_point deadline) {
    const bool ended = wait_fiber(get("join_until"), deadline);
    if constexpr (std::is_void_v<T>) {
      if (ended) {
        finish();
      }
      return ended;
    } else if constexpr (std::is_reference_v<T>) {
      return ended ? std::addressof(finish()) : nullptr;
    } else {
      return ended ? std::optional<T>(finish()) : std::nullopt;
    }
  }

  /// Whether the fiber has ended, in whatever way. Suspends: never.
  [[nodiscard]] bool done() const { return fiber_done(get("done")); }

  /// Asks the fiber to stop: what it waits in throws `cancelled`, as does every later wait. Killed before it
  /// started, it never runs. Suspends: never. Threads: any.
  void cancel() { cancel_fiber(get("cancel")); }

  /// Has `callback` called once when the fiber has ended (at once if it has): on the thread of the worker that ended
  /// it, where it must not suspend nor throw. The way back into a foreign event loop.
  void on_done(std::function<void()> callback) {
    on_fiber_done(get("on_done"), std::move(callback));
  }

  [[nodiscard]] fiber_id get_id() const noexcept { return fiber_ ? id_of(fiber_.get()) : 0; }

protected:
  fiber_handle() noexcept = default;
  explicit fiber_handle(fiber_reference fiber) noexcept : fiber_(std::move(fiber)) {}

  fiber_control* get(const char* operation) const {
    if (fiber_ == nullptr) {
      throw std::logic_error(std::string("aramid: fiber::") + operation +
                             ": the handle stands for no fiber");
    }
    return fiber_.get();
  }

  fiber_reference fiber_;

private:
  friend struct handle_access;

  T finish() {
    const fiber_reference fiber = std::move(fiber_);
    check_outcome(fiber.get());
    return static_cast<result_slot<T>*>(fiber_storage(fiber.get()))->take();
  }
};

/// How the library gets at what is behind a handle.
struct handle_access {
  template <class T>
  static fiber_control* fiber_of(const fiber_handle<T>& handle, const char* operation) {
    return handle.get(operation);
  }
};

}  // namespace detail

}  // namespace aramid::inline v0
