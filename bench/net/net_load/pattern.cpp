#include "pattern.hpp"

#include "../stall.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace net_load {

namespace {

constexpr std::uint64_t golden = 0x9E37'79B9'7F4A'7C15U;

// The finaliser of splitmix64.
constexpr std::uint64_t mix(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xBF58'476D'1CE4'E5B9U;
  x = (x ^ (x >> 27)) * 0x94D0'49BB'1331'11EBU;
  return x ^ (x >> 31);
}

// Bytes `offset`... of one request whose words follow from `request_key`.
void fill_request(std::uint64_t request_key, std::uint64_t offset,
                  std::span<std::byte> out) noexcept {
  while (!out.empty()) {
    const std::uint64_t word = mix(request_key + (offset / sizeof(word)) * golden);
    const std::size_t skip = offset % sizeof(word);
    const std::size_t count = std::min(sizeof(word) - skip, out.size());
    if (count == sizeof(word)) {  // the common case, with a size the compiler knows
      std::memcpy(out.data(), &word, sizeof(word));
    } else {
      std::memcpy(out.data(), reinterpret_cast<const std::byte*>(&word) + skip, count);
    }
    offset += count;
    out = out.subspan(count);
  }
}

}  // namespace

pattern::pattern(std::uint64_t seed, std::uint64_t connection,
                 std::uint64_t request_size_bytes, bool room_for_marks) noexcept
    : key_(mix(mix(seed + golden) + connection * golden)),
      request_size_bytes_(request_size_bytes),
      room_for_marks_(room_for_marks) {}

void pattern::fill(std::uint64_t position, std::span<std::byte> out) const noexcept {
  while (!out.empty()) {
    const std::uint64_t request = position / request_size_bytes_;
    const std::uint64_t offset = position % request_size_bytes_;
    const std::size_t count = std::min<std::uint64_t>(request_size_bytes_ - offset, out.size());
    fill_request(mix(key_ ^ (request * golden)), offset, out.first(count));
    if (room_for_marks_ && offset == 0) {
      out[0] &= ~std::byte{stall_mark};
    }
    position += count;
    out = out.subspan(count);
  }
}

std::optional<std::size_t> pattern::mismatch(std::uint64_t position,
                                             std::span<const std::byte> received) const noexcept {
  std::array<std::byte, 4096> expected;
  std::size_t done = 0;
  while (done < received.size()) {
    const std::size_t count = std::min(expected.size(), received.size() - done);
    fill(position + done, std::span(expected).first(count));
    const std::byte* actual = received.data() + done;
    if (std::memcmp(expected.data(), actual, count) != 0) {
      const auto* where = std::mismatch(actual, actual + count, expected.data()).first;
      return done + static_cast<std::size_t>(where - actual);
    }
    done += count;
  }
  return std::nullopt;
}

}  // namespace net_load
