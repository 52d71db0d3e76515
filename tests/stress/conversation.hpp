// A connection whose bytes are counted: each direction carries a pattern in which every place is another, so that a byte that is lost,
// doubled or out of its place is seen by who reads it; and when both sides have ended, what was read is compared with what was written.
//
//   1. What is read is the pattern, from its beginning, without a gap, whatever was cut short between: always.
//   2. No more has been read than was written: always.
//   3. As much, if the reader came to the end of the stream: an end that was none, behind a reset of which the kernel told somebody else, shows here.
//   4. Both directions end so, unless one of the sides has broken off, which it says before it does.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/io/tcp.hpp>
#include <aramid/timeout.hpp>

#include "dice.hpp"

namespace soak {

/// Runs `fn`, and now and then cuts it short, by a deadline or from another fiber. Returns whether it came to its end.
template <class Fn>
bool disturb(dice& d, Fn&& fn) {
  switch (d.below(5)) {
    case 0:
      return aramid::try_with_timeout(d.a_while(), fn);
    case 1: {
      aramid::cancel_scope scope;
      aramid::fiber<> canceller = aramid::spawn([&scope, wait = d.a_while()] {
        aramid::this_fiber::sleep_for(wait);
        scope.cancel();
      });
      return scope.run(fn);
    }
    default:
      fn();
      return true;
  }
}

/// Bytes without end; `at` is where in them.
class pattern {
public:
  explicit pattern(std::uint64_t seed) : seed_(seed) {}
  void fill(std::span<std::byte> buffer, std::uint64_t at) const;
  [[nodiscard]] bool is(std::span<const std::byte> bytes, std::uint64_t at) const;

private:
  [[nodiscard]] std::byte byte(std::uint64_t at) const;
  std::uint64_t seed_;
};

/// For `written`: by somebody who is gone.
constexpr std::uint64_t unknown = std::numeric_limits<std::uint64_t>::max();

struct direction {
  std::atomic<std::uint64_t> written{0}, read{0};
  std::atomic<bool> ended{false};        // by the writer
  std::atomic<bool> read_to_end{false};
};

/// What both sides of a connection know of it. Destroyed when both have ended, which is when it is checked.
struct conversation {
  explicit conversation(std::uint64_t seed) : key(seed) {}
  conversation(const conversation&) = delete;
  conversation& operator=(const conversation&) = delete;
  ~conversation();

  const std::uint64_t key;
  direction there, back;
  std::atomic<bool> broken_off{false};

  /// Over all of them, of those of which both sides agree.
  static inline std::atomic<std::uint64_t> bytes_agreed{0}, whole{0}, broken{0};
};

enum class side : bool { client, server };

/// Writes and reads, disturbed, until both directions have ended or this side breaks off, which it does now and then: by closing, by
/// a reset, or by reading no further.
void take_part(conversation& in, side as, aramid::io::tcp_stream& stream, dice& d);

/// Gives back what comes, disturbed, until the end of the stream.
void give_back(aramid::io::tcp_stream& stream, dice& d);

/// A connection to somebody who gives back what comes; it lasts, and goes on where it was.
class standing_connection {
public:
  standing_connection(aramid::io::tcp_stream stream, std::uint64_t seed) : stream_(std::move(stream)), bytes_(seed) {}
  /// Writes some and reads it back.
  void use(dice& d);

private:
  aramid::io::tcp_stream stream_;
  pattern bytes_;
  std::uint64_t written_ = 0, read_ = 0;
};

}  // namespace soak
