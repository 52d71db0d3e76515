// What the tests of reads and writes in several parts share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include <aramid/io/tcp.hpp>

#include "tcp_pair.hpp"

namespace aramid::test {

using piece = std::span<const std::byte>;

inline piece bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// `data` in pieces of 0..longest bytes, empty ones among them.
inline std::vector<piece> cut(piece data, std::size_t longest, std::mt19937& random) {
  std::vector<piece> parts;
  while (!data.empty()) {
    const std::size_t size = random() % 4 == 0 ? 0 : std::min<std::size_t>(random() % (longest + 1), data.size());
    parts.push_back(data.first(size));
    data = data.subspan(size);
  }
  parts.push_back({});
  return parts;
}

/// Reads to the end and expects `pattern` from its place `from` on. Returns: bytes.
inline std::size_t read_pattern(io::tcp_stream& stream, std::size_t from = 0) {
  std::vector<std::byte> buffer(30'000);
  std::size_t got = 0;
  while (const std::size_t n = stream.read_some(buffer)) {
    for (std::size_t i = 0; i < n; ++i) {
      if (buffer[i] != pattern_at(from + got + i)) {
        ADD_FAILURE() << "at " << from + got + i;
        return got;
      }
    }
    got += n;
  }
  return got;
}

}  // namespace aramid::test
