// Channels: typed queues between fibers and threads, with any number of producers and consumers.
//
//     aramid::channel<int> numbers(16);                    // an object that both sides refer to; or
//     auto [in, out] = aramid::make_channel<int>(16);      // two ends; it closes when the last of either kind goes
//
// With capacity 0 a send waits for its receiver (a rendezvous); otherwise only while the buffer is full.
//
// Nothing is lost or doubled (law 2): an item is with its sender, in the buffer, or with the one receiver that returns
// it. It moves straight from a waiting sender's object, or into a waiting receiver's result, after the other
// side has claimed the wait and before it delivers: so a cancellation comes before the claim, and
// the item has not moved, or after it, and the call succeeds.
//
// Invariants, under `lock_`: receivers wait only while the buffer is empty and no sender waits; senders wait only while the
// buffer is full (with capacity 0: always) and no receiver waits; nobody waits on a closed channel. Each
// side is served in the order in which it came.
//
// A `select` queues one node per case with one token; whoever claims it fills in the node it found (detail/select_case.hpp).
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <type_traits>
#include <utility>

#include <aramid/detail/config.hpp>
#include <aramid/detail/deadline.hpp>
#include <aramid/detail/ring_buffer.hpp>
#include <aramid/detail/spin_lock.hpp>
#include <aramid/detail/stoppable.hpp>
#include <aramid/detail/wait_queue.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

/// What `send` throws on a closed channel. The item is still the caller's.
class ARAMID_EXCEPTION channel_closed : public std::exception {
public:
  [[nodiscard]] const char* what() const noexcept override;
};

/// How a call ended that does not have to succeed.
enum class channel_status : std::uint8_t {
  ok,           ///< the item has changed hands
  would_block,  ///< try_send: no room; try_receive: no item
  timed_out,    ///< the deadline came first
  stopped,      ///< the std::stop_token was asked to stop first
  closed,       ///< send: closed; receive: closed and drained
};

/// What `try_receive` and its timed kin return: the item if there is one, and if there is none, why.
template <class T>
class [[nodiscard]] received : public std::optional<T> {
public:
  [[nodiscard]] channel_status status() const noexcept { return status_; }

private:
  template <class>
  friend class channel;
  channel_status status_ = channel_status::would_block;
};

namespace detail {

[[noreturn]] ARAMID_API void throw_channel_closed();

template <class T, class Fn>
class receive_case;
template <class T, class Fn>
class send_case;

}  // namespace detail

/// See the top of this file. `T` must be movable without throwing, so that an item cannot be lost half-way.
/// Owns:    the items in its buffer. It must outlive every call on it.
/// Threads: any, fibers and others; every function but the destructor at any time.
template <class T>
class channel {
  static_assert(std::is_object_v<T>, "a channel carries objects; send a pointer for a reference");
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_destructible_v<T>,
                "a channel's items must move and be destroyed without throwing");

public:
  using value_type = T;
  class iterator;

  /// Makes a channel whose buffer holds `capacity` items, allocated here and never again.
  /// Throws: std::bad_alloc; std::length_error if there can be no such buffer.
  explicit channel(std::size_t capacity = 0) : buffer_(capacity) {}

  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;

  /// Sends `item`, which is moved from if and only if the call returns.
  /// Suspends: until a receiver, or room in the buffer, takes it.
  /// Cancels:  throws aramid::cancelled; `item` is unchanged.
  /// Throws:   channel_closed, also if the channel is closed meanwhile; `item` is unchanged.
  /// Ordering: everything before it happens before the return of the receive that gets `item`; with capacity 0 that
  ///           receive's begin also happens before the return of `send`.
  void send(T&& item) {
    if (put_before(item, time_point::max()) == channel_status::closed) {
      detail::throw_channel_closed();
    }
  }

  /// Sends a copy, made before anything else. Otherwise as above.
  void send(const T& item) requires std::is_copy_constructible_v<T> { send(T(item)); }

  /// Sends `item` if that needs no waiting; it is moved from only if the result is `ok`.
  /// Suspends: never. Returns: ok, would_block or closed. Ordering: as `send`.
  [[nodiscard]] channel_status try_send(T&& item) noexcept {
    lock_.lock();
    const channel_status status = put(item);
    if (status == channel_status::would_block) {
      lock_.unlock();
    }
    return status;
  }

  /// As above, with a copy.
  [[nodiscard]] channel_status try_send(const T& item) requires std::is_copy_constructible_v<T> {
    return try_send(T(item));
  }

  /// Sends `item` unless that takes longer than `timeout`; it is moved from only if the result is `ok`.
  /// Suspends: as `send`. Cancels: as `send`. Ordering: as `send`.
  /// Returns:  ok, timed_out or closed.
  template <class Rep, class Period>
  [[nodiscard]] channel_status send_for(T&& item, std::chrono::duration<Rep, Period> timeout) {
    return put_before(item, detail::deadline_in(timeout));
  }

  template <class Rep, class Period>
  [[nodiscard]] channel_status send_for(
      const T& item,
      std::chrono::duration<Rep, Period> timeout) requires std::is_copy_constructible_v<T> {
    return send_for(T(item), timeout);
  }

  /// As `send_for`, until `deadline`.
  template <class Clock, class Duration>
  [[nodiscard]] channel_status send_until(T&& item,
                                          std::chrono::time_point<Clock, Duration> deadline) {
    return put_before(item, detail::deadline_at(deadline));
  }

  template <class Clock, class Duration>
  [[nodiscard]] channel_status send_until(
      const T& item,
      std::chrono::time_point<Clock, Duration> deadline) requires std::is_copy_constructible_v<T> {
    return send_until(T(item), deadline);
  }

  /// Sends `item` unless `stop` is asked to stop first, which is looked at before any effect; it is moved from only if the result
  /// is `ok`. For threads, which no scope of another's cancels.
  /// Suspends: as `send`. Cancels: as `send`. Ordering: as `send`.
  /// Returns:  ok, stopped or closed.
  [[nodiscard]] channel_status send(T&& item, const std::stop_token& stop) {
    return put_before(item, stop);
  }

  [[nodiscard]] channel_status send(const T& item, const std::stop_token& stop) requires std::is_copy_constructible_v<T> {
    return send(T(item), stop);
  }

  /// Receives the next item.
  /// Suspends: until there is one, or the channel is closed.
  /// Cancels:  throws aramid::cancelled; no item has been taken. Once an item is on its way to this call, a
  ///           cancellation comes too late and the item is returned.
  /// Returns:  the item, or nullopt when the channel is closed and drained.
  /// Ordering: as `send`; `close` happens before a return of nullopt.
  [[nodiscard]] std::optional<T> receive() {
    std::optional<T> item;
    get_before(item, time_point::max());
    return item;
  }

  /// Receives the next item if that needs no waiting.
  /// Suspends: never. Returns: the item, or `status()` would_block or closed. Ordering: as `receive`.
  received<T> try_receive() noexcept {
    received<T> item;
    lock_.lock();
    item.status_ = get(item);
    if (item.status_ == channel_status::would_block) {
      lock_.unlock();
    }
    return item;
  }

  /// Receives the next item unless that takes longer than `timeout`.
  /// Suspends: as `receive`. Cancels: as `receive`. Ordering: as `receive`.
  /// Returns:  the item, or `status()` timed_out or closed.
  template <class Rep, class Period>
  received<T> receive_for(std::chrono::duration<Rep, Period> timeout) {
    return receive_before(detail::deadline_in(timeout));
  }

  /// As `receive_for`, until `deadline`.
  template <class Clock, class Duration>
  received<T> receive_until(std::chrono::time_point<Clock, Duration> deadline) {
    return receive_before(detail::deadline_at(deadline));
  }

  /// Receives the next item unless `stop` is asked to stop first, which is looked at before any effect.
  /// Suspends: as `receive`. Cancels: as `receive`. Ordering: as `receive`.
  /// Returns:  the item, or `status()` stopped or closed.
  received<T> receive(const std::stop_token& stop) {
    received<T> item;
    item.status_ = get_before(item, stop);
    return item;
  }

  /// Takes no more items. What the buffer holds can still be received; senders that wait get channel_closed and keep
  /// their items, receivers that wait get nullopt. Closing again does nothing.
  /// Suspends: never. Ordering: happens before the return of every call that it ends.
  void close() noexcept {
    lock_.lock();
    closed_ = true;
    // A wait that is claimed and finds nothing filled in knows that it was this.
    detail::wait_node* const senders = senders_.claim_all();
    detail::wait_node* const receivers = receivers_.claim_all();
    lock_.unlock();
    detail::deliver_all(senders);
    detail::deliver_all(receivers);
  }

  /// Whether `close` has been called.
  [[nodiscard]] bool closed() const noexcept {
    const std::lock_guard guard(lock_);
    return closed_;
  }

  /// How many items the buffer holds; another thread may change that at once.
  [[nodiscard]] std::size_t size() const noexcept {
    const std::lock_guard guard(lock_);
    return buffer_.size();
  }

  [[nodiscard]] std::size_t capacity() const noexcept { return buffer_.capacity(); }

  /// `for (T& item : channel)` receives until the channel is closed and drained.
  /// Suspends, cancels: in begin() and at each step, as `receive`.
  [[nodiscard]] iterator begin() { return iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

private:
  template <class U, class Fn>
  friend class detail::receive_case;
  template <class U, class Fn>
  friend class detail::send_case;

  struct waiting_sender : detail::wait_node {
    T* item = nullptr;   // the sender's object: whoever claims moves from it before `deliver`
    bool taken = false;  // written by whoever claims; false: closed
  };
  struct waiting_receiver : detail::wait_node {
    std::optional<T>* item = nullptr;  // filled in by whoever claims; left empty: closed
  };

  // `put` and `get` are called with the lock held. They unlock, unless they return would_block.

  channel_status put(T& item) noexcept {
    if (ARAMID_UNLIKELY(closed_)) {
      lock_.unlock();
      return channel_status::closed;
    }
    if (!receivers_.empty()) {
      if (waiting_receiver* const receiver = receivers_.claim_front()) {
        lock_.unlock();
        receiver->item->emplace(std::move(item));
        deliver(receiver->token);
        return channel_status::ok;
      }
    }
    if (!buffer_.full()) {
      buffer_.push(std::move(item));
      lock_.unlock();
      return channel_status::ok;
    }
    return channel_status::would_block;
  }

  channel_status get(std::optional<T>& item) noexcept {
    if (!buffer_.empty()) {
      buffer_.pop(item);
      waiting_sender* const sender = senders_.empty() ? nullptr : senders_.claim_front();
      if (sender != nullptr) {
        buffer_.push(std::move(*sender->item));
        sender->taken = true;
      }
      lock_.unlock();
      if (sender != nullptr) {
        deliver(sender->token);
      }
      return channel_status::ok;
    }
    if (!senders_.empty()) {  // capacity 0
      if (waiting_sender* const sender = senders_.claim_front()) {
        lock_.unlock();
        item.emplace(std::move(*sender->item));
        sender->taken = true;
        deliver(sender->token);
        return channel_status::ok;
      }
    }
    if (closed_) {
      lock_.unlock();
      return channel_status::closed;
    }
    return channel_status::would_block;
  }

  // `limit` is what ends the wait besides: a deadline, which an item that is there beats, or a std::stop_token, which beats it.

  static constexpr bool has_stopped(time_point) noexcept { return false; }
  static bool has_stopped(const std::stop_token& stop) noexcept { return stop.stop_requested(); }

  template <class Limit>
  channel_status put_before(T& item, const Limit& limit) {
    enter_wait();
    if (has_stopped(limit)) {
      return channel_status::stopped;
    }
    lock_.lock();
    const channel_status status = put(item);
    return ARAMID_LIKELY(status != channel_status::would_block) ? status
                                                                : wait_to_put(item, limit);
  }

  template <class Limit>
  channel_status get_before(std::optional<T>& item, const Limit& limit) {
    enter_wait();
    if (has_stopped(limit)) {
      return channel_status::stopped;
    }
    lock_.lock();
    const channel_status status = get(item);
    return ARAMID_LIKELY(status != channel_status::would_block) ? status
                                                                : wait_to_get(item, limit);
  }

  received<T> receive_before(time_point deadline) {
    received<T> item;
    item.status_ = get_before(item, deadline);
    return item;
  }

  // With the lock held, since `put` or `get` found that there is something to wait for.
  // Inlined, although they are the slow path: after a switch every return address is another fiber's in the CPU's
  // return-stack, so each function left between the park and the caller costs a misprediction. A rendezvous takes 56
  // ns instead of 63.

  template <class Limit>
  [[gnu::always_inline]] inline channel_status wait_to_put(T& item, const Limit& limit) {
    parker wait({"channel::send", this});
    waiting_sender me;
    me.token = wait.token();
    me.item = &item;
    senders_.push_back(me);
    lock_.unlock();
    if (const auto unclaimed = park(wait, senders_, me, limit)) {
      return *unclaimed;
    }
    return me.taken ? channel_status::ok : channel_status::closed;
  }

  template <class Limit>
  [[gnu::always_inline]] inline channel_status wait_to_get(std::optional<T>& item, const Limit& limit) {
    parker wait({"channel::receive", this});
    waiting_receiver me;
    me.token = wait.token();
    me.item = &item;
    receivers_.push_back(me);
    lock_.unlock();
    if (const auto unclaimed = park(wait, receivers_, me, limit)) {
      return *unclaimed;
    }
    return item.has_value() ? channel_status::ok : channel_status::closed;
  }

  /// Returns: nothing if somebody claimed the wait; timed_out otherwise. Throws: aramid::cancelled.
  template <class Node>
  std::optional<channel_status> park(parker& wait, detail::wait_queue<Node>& queue, Node& me,
                                     time_point deadline) {
    const wake_reason reason =
        deadline == time_point::max() ? wait.park() : wait.park_until(deadline);
    if (ARAMID_LIKELY(reason == wake_reason::notified)) {
      return std::nullopt;
    }
    return take_back(queue, me, reason, channel_status::timed_out);
  }

  template <class Node>
  std::optional<channel_status> park(parker& wait, detail::wait_queue<Node>& queue, Node& me, const std::stop_token& stop) {
    const std::optional<wake_reason> reason = detail::park_unless(wait, stop);
    if (reason == wake_reason::notified) {
      return std::nullopt;
    }
    return take_back(queue, me, reason.value_or(wake_reason::timed_out), channel_status::stopped);
  }

  template <class Node>
  channel_status take_back(detail::wait_queue<Node>& queue, Node& me, wake_reason reason, channel_status otherwise) {
    {
      const std::lock_guard guard(lock_);
      queue.remove(me);
    }
    if (reason == wake_reason::cancelled) {
      throw_cancelled();
    }
    return otherwise;
  }

  mutable detail::spin_lock lock_;  // guards everything below
  bool closed_ = false;
  detail::ring_buffer<T> buffer_;
  detail::wait_queue<waiting_sender> senders_;
  detail::wait_queue<waiting_receiver> receivers_;
};

/// An input iterator over what is received.
template <class T>
class channel<T>::iterator {
public:
  using iterator_concept = std::input_iterator_tag;
  using iterator_category = std::input_iterator_tag;
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using pointer = T*;
  using reference = T&;

  explicit iterator(channel& source) : source_(&source), item_(source.receive()) {}

  /// The item is the loop's own: it may be moved from.
  [[nodiscard]] T& operator*() const noexcept { return *item_; }
  [[nodiscard]] T* operator->() const noexcept { return &*item_; }

  /// Suspends, cancels: as `receive`.
  iterator& operator++() {
    item_.reset();
    source_->get_before(item_, time_point::max());
    return *this;
  }
  void operator++(int) { ++*this; }

  friend bool operator==(const iterator& it, std::default_sentinel_t) noexcept {
    return !it.item_.has_value();
  }

private:
  channel* source_;
  mutable std::optional<T> item_;
};

}  // namespace aramid::inline v0

#include <aramid/channel_ends.hpp>  // IWYU pragma: export
