// What the two ends of a channel share: one block with the channel and the counts of its ends.
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0 {

template <class T>
class channel;

namespace detail {

[[noreturn]] ARAMID_API void throw_no_channel();

enum class channel_side : std::size_t { sending, receiving };

/// The last end of a side closes the channel; the last of both sides destroys it.
template <class T>
class shared_channel {
public:
  /// Begins with one end on each side.
  explicit shared_channel(std::size_t capacity) : channel_(capacity) {}

  [[nodiscard]] channel<T>& get() noexcept { return channel_; }

  void add(channel_side side) noexcept {
    count(side).fetch_add(1, std::memory_order_relaxed);  // the caller holds one already
  }

  void drop(channel_side side) noexcept {
    // acq_rel: what the other ends of this side did comes before the close; then, what both sides
    // did before the delete.
    if (count(side).fetch_sub(1, std::memory_order_acq_rel) != 1) {
      return;
    }
    channel_.close();
    if (side == channel_side::receiving) {
      // Nobody can get them any more, and they may be what somebody else waits to see destroyed.
      while (channel_.try_receive()) {
      }
    }
    if (sides_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      delete this;
    }
  }

private:
  std::atomic<std::size_t>& count(channel_side side) noexcept {
    return side == channel_side::sending ? senders_ : receivers_;
  }

  channel<T> channel_;
  std::atomic<std::size_t> senders_{1};
  std::atomic<std::size_t> receivers_{1};
  std::atomic<std::size_t> sides_{2};
};

/// How `select` gets at what is behind a handle.
struct select_access;

/// Counts itself while it refers to a channel.
template <class T, channel_side Side>
class channel_end {
public:
  channel_end() noexcept = default;
  /// Takes over a count that is already there.
  explicit channel_end(shared_channel<T>* shared) noexcept : shared_(shared) {}

  channel_end(const channel_end& other) noexcept : shared_(other.shared_) {
    if (shared_ != nullptr) {
      shared_->add(Side);
    }
  }
  channel_end(channel_end&& other) noexcept : shared_(std::exchange(other.shared_, nullptr)) {}
  channel_end& operator=(channel_end other) noexcept {
    std::swap(shared_, other.shared_);
    return *this;
  }
  ~channel_end() { reset(); }

  [[nodiscard]] explicit operator bool() const noexcept { return shared_ != nullptr; }

  void reset() noexcept {
    if (shared_ != nullptr) {
      std::exchange(shared_, nullptr)->drop(Side);
    }
  }

  /// Throws: std::logic_error if there is none.
  [[nodiscard]] channel<T>& get() const {
    if (ARAMID_UNLIKELY(shared_ == nullptr)) {
      throw_no_channel();
    }
    return shared_->get();
  }

private:
  shared_channel<T>* shared_ = nullptr;
};

}  // namespace detail

}  // namespace aramid::inline v0
