// Calls that block their thread, without blocking a worker: they run on threads that are there for nothing else.
//
//     auto rows = blocking([&] { return database.query(text); });          // this fiber waits, its worker does not
//     blocking([&](std::stop_token stop) { compress(file, stop); });       // one that can be asked to stop
//
// The fiber stands still meanwhile, so the callable may refer to whatever the fiber has. asyncio's to_thread, gevent's ThreadPool,
// tokio's spawn_blocking.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <stop_token>
#include <type_traits>
#include <utility>

#include <aramid/detail/config.hpp>
#include <aramid/detail/result_slot.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

namespace detail {

class fiber_control;

/// Where a call stands. The pool's: all under its lock.
struct offload_place {
  enum class progress : unsigned char { queued, running, done };

  fiber_control* caller = nullptr;
  park_token token;
  progress reached = progress::queued;
  time_point since;
  offload_place* next = nullptr;
  offload_place* previous = nullptr;
};

/// A call, in the frame of the fiber that makes it. The protocol is in runtime/src/offload_pool.hpp.
class ARAMID_API offloaded : public offload_place {
public:
  virtual void run() noexcept = 0;
  virtual void ask_to_stop() noexcept = 0;

protected:
  ~offloaded() = default;
};

/// Whose threads: files have some of their own, so that a program which saturates `blocking` can still read.
enum class offload_to : unsigned char { blocking, files };

/// Has `call` run on another thread, or on this one if it is no worker.
/// Suspends: until it has run. Cancels: if it has not begun, throws aramid::cancelled, and it never does; else asks it to stop.
ARAMID_API void offload(offloaded& call, offload_to pool = offload_to::blocking);

template <class Fn>
inline constexpr bool takes_stop_token = std::is_invocable_v<Fn, std::stop_token>;

template <class Fn, bool TakesToken = takes_stop_token<Fn>>
struct blocking_result : std::invoke_result<Fn> {};
template <class Fn>
struct blocking_result<Fn, true> : std::invoke_result<Fn, std::stop_token> {};

template <class Fn>
class offloaded_call final : public offloaded {
public:
  using result = typename blocking_result<Fn>::type;

  explicit offloaded_call(Fn& fn) : fn_(fn) {}

  void run() noexcept override {
    try {
      const auto call = [this]() -> result {
        if constexpr (takes_stop_token<Fn>) {
          return std::invoke(std::forward<Fn>(fn_), stop_.get_token());
        } else {
          return std::invoke(std::forward<Fn>(fn_));
        }
      };
      result_.fill(call);
    } catch (...) {
      error_ = std::current_exception();
    }
  }

  void ask_to_stop() noexcept override {
    if constexpr (takes_stop_token<Fn>) {
      stop_.request_stop();
    }
  }

  result take() {
    if (error_ != nullptr) {
      std::rethrow_exception(std::move(error_));
    }
    return result_.take();
  }

private:
  struct nothing {};

  std::remove_reference_t<Fn>& fn_;
  [[no_unique_address]] std::conditional_t<takes_stop_token<Fn>, std::stop_source, nothing> stop_;
  result_slot<result> result_;
  std::exception_ptr error_;
};

}  // namespace detail

/// Calls `fn()`, or `fn(std::stop_token)`, on a thread of the runtime that may block, and waits for it. It sees what the caller's
/// context_vars are bound to; it may use whatever a plain thread may, and `spawn`. On a thread that is no fiber it is simply called.
/// Suspends: until `fn` has returned; before that, while as many calls are under way as options::blocking_threads.
/// Cancels:  before `fn` has begun, throws aramid::cancelled, and it never begins. After that the call is waited for, whatever it
///           takes, since nothing can end it from outside: a `fn` that takes a std::stop_token is asked to stop, and what it returns or
///           throws is what `blocking` does; the next wait throws `cancelled`.
/// Owns:     nothing: `fn` and what it refers to are used until the return, and not after it.
/// Returns:  what `fn` returned.
/// Throws:   what `fn` threw; std::system_error if there is not a single thread and none can be made.
/// Threads:  any.
/// Ordering: as a plain call.
template <class Fn>
typename detail::blocking_result<Fn>::type blocking(Fn&& fn) {
  detail::offloaded_call<Fn> call(fn);
  detail::offload(call);
  return call.take();
}

}  // namespace aramid::inline v0
