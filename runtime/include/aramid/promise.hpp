// Promises and futures, in std's shape, for fibers and threads alike: a value or an error that somebody will have later.
//
//     promise<int> answer;
//     auto asked = answer.get_future();
//     spawn([&] { answer.set_value(42); }).detach();
//     use(asked.get());                          // suspends until it is there
//
// A fiber already is the future of what it returns (`fiber<T>::join`); a promise is for what comes from elsewhere: a callback, a
// thread, another fiber's half-way point. gevent's AsyncResult, asyncio's Future, std::promise.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <future>  // std::future_error, std::future_status
#include <memory>
#include <type_traits>
#include <utility>

#include <aramid/detail/atomics.hpp>
#include <aramid/detail/broadcast.hpp>
#include <aramid/detail/config.hpp>
#include <aramid/detail/deadline.hpp>
#include <aramid/detail/result_slot.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

using std::future_errc;
using std::future_error;
using std::future_status;

namespace detail {

/// What a promise and its futures share.
template <class T>
class promised {
public:
  /// Keeps what `fn` returns, or does nothing if it throws. Throws: future_error if there is something already; what `fn` throws.
  template <class Fn>
  void keep(Fn fn) {
    take_turn();
    try {
      slot_.fill(fn);
    } catch (...) {
      kept_.store(false, std::memory_order_release);
      throw;
    }
    come();
  }

  void fail(std::exception_ptr error) {
    take_turn();
    error_ = std::move(error);
    come();
  }

  [[nodiscard]] bool has_come() const noexcept {
    const bool come = has_come_.load(std::memory_order_acquire);
    if (come) {
      waiters_.let_go();
    }
    return come;
  }

  /// Returns: whether it has come; otherwise it is the deadline that has. Throws: aramid::cancelled.
  bool wait(time_point deadline) {
    return has_come() ||
           waiters_.wait_or_throw([this] { return has_come_.load(std::memory_order_relaxed); }, {"future::wait", this}, deadline);
  }

  /// After `wait` has returned true.
  result_slot<T>& outcome() {
    if (error_ != nullptr) {
      std::rethrow_exception(error_);
    }
    return slot_;
  }

  /// As `outcome`, for the one who takes it: the error then dies where it is handled.
  result_slot<T>& last_outcome() {
    const std::exception_ptr error = std::move(error_);
    if (error != nullptr) {
      std::rethrow_exception(error);
    }
    return slot_;
  }

  [[nodiscard]] bool is_kept() const noexcept { return kept_.load(std::memory_order_relaxed); }

private:
  void take_turn() {
    if (kept_.exchange(true, std::memory_order_acquire)) {
      throw future_error(future_errc::promise_already_satisfied);
    }
  }

  void come() noexcept {
    waiters_.change_state([this] {
      has_come_.store(true, std::memory_order_release);
      return true;
    });
  }

  atomic<bool> kept_{false};      // whoever turns it to true writes the two below
  atomic<bool> has_come_{false};  // and then this one, under the lock of waiters_
  result_slot<T> slot_;
  std::exception_ptr error_;
  broadcast waiters_;
};

template <class T>
using promised_reference = std::shared_ptr<promised<T>>;

/// What future and shared_future have in common.
template <class T>
class future_base {
public:
  /// Whether there is a state to wait for. The other functions throw future_error (no_state) if there is none.
  [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }

  /// Whether waiting would return at once. Suspends: never.
  [[nodiscard]] bool ready() const { return state().has_come(); }

  /// Waits for the outcome.
  /// Suspends: until it is there. Cancels: throws aramid::cancelled; the future stays valid.
  /// Ordering: everything before the `set_` call happens before the return.
  void wait() const {
    enter_wait();
    (void)state().wait(time_point::max());
  }

  /// Waits for the outcome, but no longer than `timeout`.
  /// Suspends: as `wait`. Cancels: as `wait`.
  /// Returns:  future_status::ready or timeout.
  template <class Rep, class Period>
  future_status wait_for(std::chrono::duration<Rep, Period> timeout) const {
    enter_wait();
    return state().wait(deadline_in(timeout)) ? future_status::ready : future_status::timeout;
  }

  /// As `wait_for`, until `deadline`.
  template <class Clock, class Duration>
  future_status wait_until(std::chrono::time_point<Clock, Duration> deadline) const {
    enter_wait();
    return state().wait(deadline_at(deadline)) ? future_status::ready : future_status::timeout;
  }

protected:
  future_base() noexcept = default;
  explicit future_base(promised_reference<T> state) noexcept : state_(std::move(state)) {}

  promised<T>& state() const {
    if (state_ == nullptr) {
      throw future_error(future_errc::no_state);
    }
    return *state_;
  }

  promised_reference<T> state_;
};

}  // namespace detail

/// As `future`, but its outcome can be had again and again, and it can be copied.
/// Threads: any, fibers and others; each with a copy of its own.
template <class T = void>
class shared_future : public detail::future_base<T> {
public:
  shared_future() noexcept = default;
  explicit shared_future(detail::promised_reference<T> state) noexcept : detail::future_base<T>(std::move(state)) {}

  /// Waits for the outcome. Suspends, cancels: as `wait`.
  /// Returns: the value, which belongs to the futures and stays while there is one. Throws: the error.
  decltype(auto) get() const {
    this->wait();
    return std::as_const(this->state().outcome()).look();
  }
};

/// The outcome that a promise will have. Can be moved and not copied; its destructor waits for nothing.
/// Threads: one at a time.
template <class T = void>
class future : public detail::future_base<T> {
public:
  future() noexcept = default;
  explicit future(detail::promised_reference<T> state) noexcept : detail::future_base<T>(std::move(state)) {}
  future(future&&) noexcept = default;
  future& operator=(future&&) noexcept = default;

  /// Waits for the outcome, and gives up the state.
  /// Suspends: until it is there. Cancels: throws aramid::cancelled; the future stays valid.
  /// Returns:  the value, moved. Throws: the error; future_error (broken_promise) if the promise was destroyed without an outcome.
  T get() {
    this->wait();
    const detail::promised_reference<T> state = std::move(this->state_);
    return state->last_outcome().take();
  }

  /// Gives the state to a shared_future.
  [[nodiscard]] shared_future<T> share() noexcept { return shared_future<T>(std::move(this->state_)); }
};

/// Where the outcome comes from. Destroyed without one, it leaves future_error (broken_promise) to those who wait.
/// Threads: `set_` functions from any, fibers and others; the first one counts. It may be destroyed as soon as the outcome has
///          been seen by a future.
template <class T = void>
class promise {
public:
  /// Throws: std::bad_alloc.
  promise() : state_(std::make_shared<detail::promised<T>>()) {}
  promise(promise&& other) noexcept = default;
  promise& operator=(promise&& other) noexcept {
    promise(std::move(other)).swap(*this);
    return *this;
  }

  ~promise() {
    if (state_ != nullptr && !state_->is_kept()) {
      state_->fail(std::make_exception_ptr(future_error(future_errc::broken_promise)));
    }
  }

  void swap(promise& other) noexcept {
    std::swap(state_, other.state_);
    std::swap(retrieved_, other.retrieved_);
  }

  /// The one future; more come from its `share`. Throws: future_error (future_already_retrieved, no_state).
  [[nodiscard]] future<T> get_future() {
    (void)state();
    if (std::exchange(retrieved_, true)) {
      throw future_error(future_errc::future_already_retrieved);
    }
    return future<T>(state_);
  }

  /// Makes the value the outcome.
  /// Suspends: never.
  /// Throws:   future_error (promise_already_satisfied, no_state); what copying the value throws, and then there is no outcome yet.
  /// Ordering: everything before it happens before the return of the waits.
  template <class Value = T>
    requires(!std::is_void_v<T> && std::is_constructible_v<T, Value>)
  void set_value(Value&& value) {
    state().keep([&]() -> Value&& { return std::forward<Value>(value); });
  }
  void set_value() requires std::is_void_v<T> {
    state().keep([] {});
  }

  /// Makes `error` the outcome. Otherwise as `set_value`.
  void set_exception(std::exception_ptr error) { state().fail(std::move(error)); }

private:
  detail::promised<T>& state() const {
    if (state_ == nullptr) {
      throw future_error(future_errc::no_state);
    }
    return *state_;
  }

  detail::promised_reference<T> state_;
  bool retrieved_ = false;
};

}  // namespace aramid::inline v0
