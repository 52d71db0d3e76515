// Whether a descriptor is open, who uses it and who waits for that: the steps of descriptor.hpp, in one word.
#pragma once

#include <atomic>
#include <cstdint>

#include <aramid/detail/atomics.hpp>
#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

template <class Atomics = std_atomics>
class descriptor_word {
public:
  /// What a user adds to the word, and takes off as it leaves.
  static constexpr std::uint64_t one_user = 32;
  static constexpr std::uint64_t one_reader = one_user + 4;  // there is one at most, and one writer
  static constexpr std::uint64_t one_writer = one_user + 8;

  enum class refusal : std::uint8_t { none, closed, not_alone };
  enum class waiter : std::uint8_t { none, reader, closer };

  /// Use 1.
  /// acquire: pairs with `leave`: what one reader left in the stream is the next one's.
  [[nodiscard]] refusal enter(std::uint64_t mark) noexcept {
    const std::uint64_t alone = mark - one_user;
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    do {
      if (ARAMID_UNLIKELY((word & (closing | alone)) != 0)) {
        return (word & closing) != 0 ? refusal::closed : refusal::not_alone;
      }
    } while (!word_.compare_exchange_weak(word, word + mark, std::memory_order_acquire, std::memory_order_relaxed));
    return refusal::none;
  }

  /// Use 2, Writer 2. Returns: whom to wake, if there is one: the last touch otherwise.
  /// release: pairs with `enter`, `has_writer`, `must_wait_for_writer` and `must_wait_for_users`; acquire: with the last two, for the tokens.
  [[nodiscard]] waiter leave(std::uint64_t mark) noexcept {
    const std::uint64_t off = (mark & writing) != 0 ? reader_waits : 0;
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    while (!word_.compare_exchange_weak(word, (word - mark) & ~off, std::memory_order_acq_rel, std::memory_order_relaxed)) {
    }
    if (ARAMID_LIKELY((word & (off | draining)) == 0)) {
      return waiter::none;
    }
    if ((word & off) != 0) {
      return waiter::reader;
    }
    return word - mark < one_user ? waiter::closer : waiter::none;
  }

  struct close_begun {
    bool is_first;
    bool has_users;
  };

  /// Close 1. acquire: pairs with `leave`, when nobody is left.
  [[nodiscard]] close_begun begin_close() noexcept {
    const std::uint64_t word = word_.fetch_or(closing, std::memory_order_acquire);
    return {(word & closing) == 0, word >= one_user};
  }

  /// Close 3. Returns: whether users are left, the last of whom wakes the closer.
  /// release: the closer's token, for `leave`; acquire: pairs with `leave`.
  [[nodiscard]] bool must_wait_for_users() noexcept { return word_.fetch_or(draining, std::memory_order_acq_rel) >= one_user; }

  /// Writer 1. Returns: false if there is none.
  /// release: the reader's token, for `leave`; acquire on failure: pairs with `leave`, for what the writer noted.
  [[nodiscard]] bool must_wait_for_writer() noexcept {
    std::uint64_t word = word_.load(std::memory_order_acquire);
    do {
      if ((word & writing) == 0) {
        return false;
      }
    } while (!word_.compare_exchange_weak(word, word | reader_waits, std::memory_order_release, std::memory_order_acquire));
    return true;
  }

  /// Closes at once, if nobody uses it. acquire: pairs with `leave`.
  [[nodiscard]] refusal close_unused() noexcept {
    std::uint64_t word = 0;
    if (word_.compare_exchange_strong(word, closing, std::memory_order_acquire, std::memory_order_relaxed)) {
      return refusal::none;
    }
    return (word & closing) != 0 ? refusal::closed : refusal::not_alone;
  }

  /// relaxed: who must know uses `enter`, has a lock of the closer's or the kernel's, or was woken by the closer.
  [[nodiscard]] bool is_open() const noexcept { return (word_.load(std::memory_order_relaxed) & closing) == 0; }

  /// acquire: pairs with `leave`, for what a writer that has left has noted.
  [[nodiscard]] bool has_writer() const noexcept { return (word_.load(std::memory_order_acquire) & writing) != 0; }

  /// For tests.
  [[nodiscard]] bool has_waiting_reader() const noexcept { return (word_.load(std::memory_order_relaxed) & reader_waits) != 0; }

private:
  // Two bits for the close, two for users who must be alone of their kind, one for the wait of the one for the other, and the number of users.
  static constexpr std::uint64_t closing = 1;
  static constexpr std::uint64_t draining = 2;
  static constexpr std::uint64_t writing = one_writer - one_user;
  static constexpr std::uint64_t reader_waits = 16;

  typename Atomics::template atomic<std::uint64_t> word_{0};
};

}  // namespace aramid::inline v0::detail
