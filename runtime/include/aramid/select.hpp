// Waiting for the first of several things: Go's `select`, for fibers and threads.
//
//     select(on_receive(orders, [&](std::optional<order> next) { … }),   // nullopt: the channel is closed and drained
//            on_send(replies, std::move(reply), [&] { … }),
//            on_set(stopping, [&] { … }),
//            on_join(worker, [&](int result) { … }),
//            after(5s, [&] { … }));
//
// Exactly one case happens; the others have had no effect: no item has been taken or given, no fiber joined. If several
// could, which of them is random, but that a deadline is the last resort. What `select` returns is the place of the case, from 0; a handler
// may be left out.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <aramid/channel.hpp>
#include <aramid/channel_ends.hpp>
#include <aramid/detail/config.hpp>
#include <aramid/detail/deadline.hpp>
#include <aramid/detail/end_case.hpp>
#include <aramid/detail/fiber_handle.hpp>
#include <aramid/detail/select_case.hpp>
#include <aramid/event.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

namespace detail {

struct no_handler {
  template <class... Args>
  void operator()(Args&&...) const noexcept {}
};

struct select_access {
  template <class End>
  static auto& channel_of(const End& end) {
    return end.end_.get();
  }
};

template <class T, class Fn>
class receive_case final : public select_case {
public:
  receive_case(channel<T>& from, Fn fn) : from_(from), fn_(std::move(fn)) {}

  bool attempt() override {
    from_.lock_.lock();
    return get();
  }
  publication publish(parker& wait) noexcept override {
    from_.lock_.lock();
    if (from_.closed_ || !from_.buffer_.empty() || from_.senders_.holds_another_than(wait.token())) {
      const publication result = perform_instead(wait, [this] { return get(); });
      if (result == publication::lost) {
        from_.lock_.unlock();
      }
      return result;
    }
    me_.token = wait.token();
    me_.item = &item_;
    me_.claimed = false;
    from_.receivers_.push_back(me_);
    from_.lock_.unlock();
    return publication::queued;
  }
  void withdraw() noexcept override {
    const std::lock_guard guard(from_.lock_);
    from_.receivers_.remove(me_);
  }
  [[nodiscard]] bool chosen() const noexcept override { return me_.claimed; }
  void run() { std::invoke(std::move(fn_), std::move(item_)); }

private:
  // With the lock held, which it gives up.
  bool get() {
    const bool done = from_.get(item_) != channel_status::would_block;
    if (!done) {
      from_.lock_.unlock();
    }
    return done;
  }

  channel<T>& from_;
  Fn fn_;
  std::optional<T> item_;
  typename channel<T>::waiting_receiver me_;
};

template <class T, class Fn>
class send_case final : public select_case {
public:
  send_case(channel<T>& to, T& item, Fn fn) : to_(to), item_(&item), fn_(std::move(fn)) {}
  send_case(channel<T>& to, const T& item, Fn fn, std::true_type) : to_(to), copy_(item), fn_(std::move(fn)) {}

  bool attempt() override {
    to_.lock_.lock();
    return put();
  }
  publication publish(parker& wait) noexcept override {
    to_.lock_.lock();
    if (to_.closed_ || !to_.buffer_.full() || to_.receivers_.holds_another_than(wait.token())) {
      const publication result = perform_instead(wait, [this] { return put(); });
      if (result == publication::lost) {
        to_.lock_.unlock();
      }
      return result;
    }
    me_.token = wait.token();
    me_.item = &item();
    me_.taken = false;
    me_.claimed = false;
    to_.senders_.push_back(me_);
    to_.lock_.unlock();
    return publication::queued;
  }
  void withdraw() noexcept override {
    const std::lock_guard guard(to_.lock_);
    to_.senders_.remove(me_);
  }
  [[nodiscard]] bool chosen() const noexcept override { return me_.claimed; }
  void run() {
    if (!sent_ && !me_.taken) {
      throw_channel_closed();
    }
    std::invoke(std::move(fn_));
  }

private:
  T& item() noexcept { return copy_ ? *copy_ : *item_; }

  // With the lock held, which it gives up.
  bool put() {
    const channel_status status = to_.put(item());
    if (status == channel_status::would_block) {
      to_.lock_.unlock();
    }
    sent_ = status == channel_status::ok;
    return status != channel_status::would_block;
  }

  channel<T>& to_;
  T* item_ = nullptr;
  std::optional<T> copy_;
  Fn fn_;
  bool sent_ = false;  // by ourselves; by whoever claimed us: me_.taken
  typename channel<T>::waiting_sender me_;
};

template <class Fn>
class event_case final : public select_case {
public:
  event_case(event& which, Fn fn) : which_(which), fn_(std::move(fn)) {}

  bool attempt() override { return which_.is_set(); }
  publication publish(parker& wait) noexcept override {
    me_.token = wait.token();
    me_.claimed = false;
    const auto is_set = [this] { return which_.set_.load(std::memory_order_relaxed); };
    return which_.waiters_.queue_unless(is_set, me_) ? publication::queued
                                                     : perform_instead(wait, [] { return true; });
  }
  void withdraw() noexcept override { which_.waiters_.withdraw(me_); }
  [[nodiscard]] bool chosen() const noexcept override { return me_.claimed; }
  void run() { std::invoke(std::move(fn_)); }

private:
  event& which_;
  Fn fn_;
  wait_node me_;
};

template <class T, class Fn>
class join_case final : public end_case {
public:
  join_case(fiber_handle<T>& which, Fn fn) : end_case(which, "on_join"), handle_(which), fn_(std::move(fn)) {}

  void run() {
    if constexpr (std::is_void_v<T>) {
      handle_.join();
      std::invoke(std::move(fn_));
    } else {
      std::invoke(std::move(fn_), handle_.join());
    }
  }

private:
  fiber_handle<T>& handle_;
  Fn fn_;
};

template <class Fn>
class deadline_case final : public select_case {
public:
  deadline_case(time_point deadline, Fn fn) : deadline_(deadline), fn_(std::move(fn)) {}

  bool attempt() override { return false; }
  publication publish(parker&) noexcept override { return publication::queued; }
  void withdraw() noexcept override {}
  [[nodiscard]] bool chosen() const noexcept override { return false; }
  [[nodiscard]] time_point deadline() const noexcept override { return deadline_; }
  void run() { std::invoke(std::move(fn_)); }

private:
  const time_point deadline_;
  Fn fn_;
};

template <class... Cases>
void run_case(std::size_t which, Cases&... cases) {
  std::size_t place = 0;
  (void)((place++ == which && (cases.run(), true)) || ...);
}

}  // namespace detail

/// The next item of `from`, or its end: `fn(std::optional<T>)`.
template <class T, class Fn = detail::no_handler>
[[nodiscard]] detail::receive_case<T, Fn> on_receive(channel<T>& from, Fn fn = Fn()) {
  return {from, std::move(fn)};
}
template <class T, class Fn = detail::no_handler>
[[nodiscard]] detail::receive_case<T, Fn> on_receive(const receiver<T>& from, Fn fn = Fn()) {
  return {detail::select_access::channel_of(from), std::move(fn)};
}

/// `item` has been sent: `fn()`. It is moved from only then. Throws: from `select`, channel_closed if the channel is closed.
template <class T, class Fn = detail::no_handler>
[[nodiscard]] detail::send_case<T, Fn> on_send(channel<T>& to, std::type_identity_t<T>&& item, Fn fn = Fn()) {
  return {to, item, std::move(fn)};
}
template <class T, class Fn = detail::no_handler>
[[nodiscard]] detail::send_case<T, Fn> on_send(channel<T>& to, const std::type_identity_t<T>& item, Fn fn = Fn()) {
  return {to, item, std::move(fn), std::true_type{}};
}
template <class T, class Fn = detail::no_handler>
[[nodiscard]] detail::send_case<T, Fn> on_send(const sender<T>& to, std::type_identity_t<T>&& item, Fn fn = Fn()) {
  return {detail::select_access::channel_of(to), item, std::move(fn)};
}
template <class T, class Fn = detail::no_handler>
[[nodiscard]] detail::send_case<T, Fn> on_send(const sender<T>& to, const std::type_identity_t<T>& item, Fn fn = Fn()) {
  return {detail::select_access::channel_of(to), item, std::move(fn), std::true_type{}};
}

/// The event is set: `fn()`. It stays set.
template <class Fn = detail::no_handler>
[[nodiscard]] detail::event_case<Fn> on_set(event& which, Fn fn = Fn()) {
  return {which, std::move(fn)};
}

/// The fiber has ended and been joined: `fn(result)`, or `fn()` if it has none. Throws: from `select`, what `join` throws.
template <class T, class Fn = detail::no_handler>
[[nodiscard]] detail::join_case<T, Fn> on_join(detail::fiber_handle<T>& which, Fn fn = Fn()) {
  return {which, std::move(fn)};
}

/// Nothing else could happen until `deadline`: `fn()`.
template <class Fn = detail::no_handler>
[[nodiscard]] detail::deadline_case<Fn> at(time_point deadline, Fn fn = Fn()) {
  return {deadline, std::move(fn)};
}

/// Nothing else could happen for so long, from the making of the case on: `fn()`. Zero does not wait.
template <class Rep, class Period, class Fn = detail::no_handler>
[[nodiscard]] detail::deadline_case<Fn> after(std::chrono::duration<Rep, Period> timeout, Fn fn = Fn()) {
  return {detail::deadline_in(timeout), std::move(fn)};
}

/// Waits until one of `cases` can happen, lets it happen and calls its handler, when everything else is over.
/// Suspends: until then, and as the handler does.
/// Cancels:  throws aramid::cancelled; no case has happened.
/// Returns:  which one it was, from 0.
/// Throws:   what the case and its handler throw.
/// Threads:  any, fibers and others.
template <class... Cases>
  requires(sizeof...(Cases) > 0 && (std::is_base_of_v<detail::select_case, std::remove_reference_t<Cases>> && ...))
std::size_t select(Cases&&... cases) {
  const std::array<detail::select_case*, sizeof...(Cases)> all{&cases...};
  const std::size_t which = detail::select_one(all);
  detail::run_case(which, cases...);
  return which;
}

/// As `select`, if one of `cases` can happen without waiting. Go's `default`.
/// Suspends: only as the handler does. Returns: which one it was; nullopt if none could.
template <class... Cases>
  requires(sizeof...(Cases) > 0 && (std::is_base_of_v<detail::select_case, std::remove_reference_t<Cases>> && ...))
std::optional<std::size_t> try_select(Cases&&... cases) {
  const std::array<detail::select_case*, sizeof...(Cases)> all{&cases...};
  const std::size_t which = detail::try_select_one(all);
  if (which == detail::no_case) {
    return std::nullopt;
  }
  detail::run_case(which, cases...);
  return which;
}

}  // namespace aramid::inline v0
