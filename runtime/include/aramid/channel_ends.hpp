// The two ends of a shared channel: `sender` and `receiver`. Part of <aramid/channel.hpp>.
#pragma once

#include <cstddef>
#include <iterator>
#include <optional>
#include <stop_token>
#include <utility>

#include <aramid/channel.hpp>
#include <aramid/detail/channel_end.hpp>
#include <aramid/detail/config.hpp>

namespace aramid::inline v0 {

/// An end of a shared channel through which items go in. When the last sender is destroyed the channel closes:
/// its receivers get what the buffer holds, and then the end. A copy is another sender.
/// Owns:    its share of the channel.
/// Throws:  each call, std::logic_error if this end was moved from, reset or default-made.
/// Threads: the calls on one sender, any; copying into it, moving and destroying it, alone.
template <class T>
class sender {
public:
  sender() noexcept = default;

  /// The functions of `channel` with the same names.
  void send(T&& item) const { end_.get().send(std::move(item)); }
  void send(const T& item) const { end_.get().send(item); }
  [[nodiscard]] channel_status try_send(T&& item) const {
    return end_.get().try_send(std::move(item));
  }
  [[nodiscard]] channel_status try_send(const T& item) const { return end_.get().try_send(item); }
  template <class Item>
  [[nodiscard]] channel_status send(Item&& item, const std::stop_token& stop) const {
    return end_.get().send(std::forward<Item>(item), stop);
  }
  template <class Item, class Timeout>
  [[nodiscard]] channel_status send_for(Item&& item, Timeout timeout) const {
    return end_.get().send_for(std::forward<Item>(item), timeout);
  }
  template <class Item, class Deadline>
  [[nodiscard]] channel_status send_until(Item&& item, Deadline deadline) const {
    return end_.get().send_until(std::forward<Item>(item), deadline);
  }
  void close() const { end_.get().close(); }
  [[nodiscard]] bool closed() const { return end_.get().closed(); }

  /// Lets go of the channel before the destructor does.
  void reset() noexcept { end_.reset(); }
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(end_); }

private:
  friend struct detail::select_access;
  template <class U>
  friend struct channel_ends;
  explicit sender(detail::shared_channel<T>* shared) noexcept : end_(shared) {}

  detail::channel_end<T, detail::channel_side::sending> end_;
};

/// An end of a shared channel from which items come. When the last receiver is destroyed the channel closes, the items
/// in its buffer are destroyed, and senders get channel_closed. A copy is another receiver; each item goes to one.
/// Owns, throws, threads: as `sender`.
template <class T>
class receiver {
public:
  receiver() noexcept = default;

  /// The functions of `channel` with the same names.
  [[nodiscard]] std::optional<T> receive() const { return end_.get().receive(); }
  received<T> receive(const std::stop_token& stop) const { return end_.get().receive(stop); }
  received<T> try_receive() const { return end_.get().try_receive(); }
  template <class Timeout>
  received<T> receive_for(Timeout timeout) const {
    return end_.get().receive_for(timeout);
  }
  template <class Deadline>
  received<T> receive_until(Deadline deadline) const {
    return end_.get().receive_until(deadline);
  }
  void close() const { end_.get().close(); }
  [[nodiscard]] bool closed() const { return end_.get().closed(); }
  [[nodiscard]] auto begin() const { return end_.get().begin(); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  /// Lets go of the channel before the destructor does.
  void reset() noexcept { end_.reset(); }
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(end_); }

private:
  friend struct detail::select_access;
  template <class U>
  friend struct channel_ends;
  explicit receiver(detail::shared_channel<T>* shared) noexcept : end_(shared) {}

  detail::channel_end<T, detail::channel_side::receiving> end_;
};

/// The two ends of a new channel, for a structured binding.
template <class T>
struct channel_ends {
  sender<T> in;
  receiver<T> out;

  explicit channel_ends(std::size_t capacity)
      : channel_ends(new detail::shared_channel<T>(capacity)) {}

private:
  explicit channel_ends(detail::shared_channel<T>* shared) noexcept : in(shared), out(shared) {}
};

/// Makes a channel with one sender and one receiver. Throws: as `channel`'s constructor.
template <class T>
[[nodiscard]] channel_ends<T> make_channel(std::size_t capacity = 0) {
  return channel_ends<T>(capacity);
}

}  // namespace aramid::inline v0
