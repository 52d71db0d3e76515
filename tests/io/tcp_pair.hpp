// Two ends of a loopback connection, and a plain blocking socket for the peers that do what ours do
// not.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/io/tcp.hpp>

namespace aramid::test {

inline const io::endpoint loopback("127.0.0.1", 0);

struct tcp_pair {
  io::tcp_stream client;
  io::tcp_stream server;
};

inline tcp_pair make_tcp_pair() {
  io::tcp_listener listener(loopback);
  io::tcp_stream client = io::connect(listener.local_endpoint());
  return {std::move(client), listener.accept()};
}

/// A blocking socket of the kernel's own.
class raw_socket {
public:
  explicit raw_socket(const io::endpoint& peer)
      : fd_(::socket(peer.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (fd_ < 0 || ::connect(fd_, peer.data(), peer.size()) != 0) {
      throw std::system_error(errno, std::system_category(), "raw_socket");
    }
  }
  raw_socket(raw_socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~raw_socket() { close(); }

  void write(std::string_view text) const {
    if (::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) {
      throw std::system_error(errno, std::system_category(), "raw_socket::write");
    }
  }

  /// Suspends until there is something to read, and leaves it there.
  void wait_for_bytes() const {
    for (char first; ::recv(fd_, &first, 1, MSG_PEEK | MSG_DONTWAIT) != 1;) {
      this_fiber::sleep_for(std::chrono::milliseconds(1));
    }
  }

  /// Closes with a RST instead of a FIN.
  void reset() {
    const linger at_once{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close();
  }

  void close() {
    if (fd_ >= 0) {
      ::close(std::exchange(fd_, -1));
    }
  }

  [[nodiscard]] int fd() const { return fd_; }

private:
  int fd_;
};

/// Reads until `size` bytes have come, or the end; the kernel, and the fake driver more often, may give them in parts.
template <class From>
std::string read_text(From& from, std::size_t size) {
  std::string text(size, '\0');
  std::size_t got = 0;
  while (got != size) {
    const std::size_t count = from.read_some(std::as_writable_bytes(std::span(text)).subspan(got));
    if (count == 0) {
      break;
    }
    got += count;
  }
  text.resize(got);
  return text;
}

/// Bytes that differ from place to place, so that a lost or doubled one shows.
inline std::byte pattern_at(std::uint64_t place) {
  return static_cast<std::byte>((place * 0x9e3779b97f4a7c15) >> 56);
}

inline std::vector<std::byte> pattern(std::size_t size, std::uint64_t from = 0) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = pattern_at(from + i);
  }
  return bytes;
}

}  // namespace aramid::test
