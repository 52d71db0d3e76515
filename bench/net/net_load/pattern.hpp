// The bytes that a connection sends: a pure function of seed, connection, request and offset.
//
// Nothing that was sent is kept: a piece that went out partly, or came back in pieces, is made
// again from its position in the stream. So a byte that is lost, doubled, swapped between requests
// or between connections shows. For the stalled load the lowest bit of each request's first byte is 0:
// the connection puts the mark there (../stall.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace net_load {

class pattern {
public:
  pattern(std::uint64_t seed, std::uint64_t connection, std::uint64_t request_size_bytes,
          bool room_for_marks) noexcept;

  /// Writes the stream's bytes from `position` on into `out`.
  void fill(std::uint64_t position, std::span<std::byte> out) const noexcept;

  /// Returns: the index of the first byte of `received`, which begins at `position`, that is not
  ///          the stream's; nothing if all are.
  [[nodiscard]] std::optional<std::size_t> mismatch(
      std::uint64_t position, std::span<const std::byte> received) const noexcept;

private:
  std::uint64_t key_;
  std::uint64_t request_size_bytes_;
  bool room_for_marks_;
};

}  // namespace net_load
