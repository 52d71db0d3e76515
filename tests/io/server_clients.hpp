// What the tests of tcp_server share: the other end of its connections.
#pragma once

#include <array>
#include <chrono>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/io/tcp.hpp>
#include <aramid/io/tcp_server.hpp>

#include "tcp_pair.hpp"

namespace aramid::test {

/// Gives every byte back.
inline void echo(io::tcp_stream stream) {
  std::array<std::byte, 4096> buffer;
  while (const std::size_t n = stream.read_some(buffer)) {
    stream.write_all(std::span(buffer).first(n));
  }
}

/// Says that it is there, and stays until it is cancelled.
inline void linger_on(io::tcp_stream stream) {
  stream.write_all("x");
  this_fiber::sleep_for(std::chrono::hours(24));
}

/// Whether `stream` gets back what it sends.
inline bool echoes(io::tcp_stream& stream, std::string_view text) {
  std::error_code ec;
  std::string back(text.size(), '\0');
  stream.write_all(text, ec);
  if (!ec) {
    stream.read_exactly(back, ec);
  }
  return !ec && back == text;
}

/// Waits for a byte. Returns: 0 once the peer has ended the connection in whatever way.
inline char read_char(io::tcp_stream& stream) {
  std::array<char, 1> one{};
  std::error_code ec;
  return stream.read_some(one, ec) == 1 ? one[0] : '\0';
}

inline std::vector<io::tcp_stream> connect_many(const io::endpoint& where, std::size_t count) {
  std::vector<io::tcp_stream> streams;
  for (std::size_t i = 0; i < count; ++i) {
    streams.push_back(io::connect(where));
  }
  return streams;
}

/// Waits for something that others bring about and announce to nobody.
template <class Condition>
void wait_until(Condition condition) {
  while (!condition()) {
    this_fiber::sleep_for(std::chrono::microseconds(200));
  }
}

}  // namespace aramid::test
