#include "peer.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace aramid::e2e {
namespace {

[[noreturn]] void fail(const char* call, int error = errno) {
  throw std::runtime_error(std::string("peer: ") + call + ": " + std::strerror(error));
}

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int connect_to(int fd, std::uint16_t port) {
  const sockaddr_in address = loopback(port);
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

void wait_for(int fd, short events) {
  pollfd ready{fd, events, 0};
  const int count = ::poll(&ready, 1, static_cast<int>(std::chrono::milliseconds(patience).count()));
  if (count <= 0) {
    fail(events == POLLIN ? "waiting for bytes" : "waiting for room", count == 0 ? ETIMEDOUT : errno);
  }
}

}  // namespace

peer::peer(std::uint16_t port, int receive_buffer_bytes)
    : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  if (fd_ < 0) {
    fail("socket");
  }
  const int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (receive_buffer_bytes != 0) {
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
  }
  if (connect_to(fd_, port) != 0) {
    const int error = errno;
    close();
    fail("connect", error);
  }
}

peer::peer(peer&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

peer& peer::operator=(peer&& other) noexcept {
  close();
  fd_ = std::exchange(other.fd_, -1);
  return *this;
}

bool peer::is_refused(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool refused = connect_to(fd, port) != 0 && errno == ECONNREFUSED;
  ::close(fd);
  return refused;
}

std::size_t peer::send_some(std::string_view bytes) {
  const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0 && errno != EAGAIN) {
    fail("send");
  }
  return sent < 0 ? 0 : static_cast<std::size_t>(sent);
}

void peer::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t sent = send_some(bytes);
    bytes.remove_prefix(sent);
    if (sent == 0) {
      wait_for(fd_, POLLOUT);
    }
  }
}

std::string peer::receive_some(std::size_t most) {
  std::string bytes(most, '\0');
  wait_for(fd_, POLLIN);
  const ssize_t count = ::recv(fd_, bytes.data(), bytes.size(), 0);
  if (count < 0) {
    fail("recv");
  }
  bytes.resize(static_cast<std::size_t>(count));
  return bytes;
}

std::string peer::receive(std::size_t count) {
  std::string bytes;
  bytes.reserve(count);
  while (bytes.size() != count) {
    const std::string more = receive_some(count - bytes.size());
    if (more.empty()) {
      throw std::runtime_error("peer: the stream ends after " + std::to_string(bytes.size()) + " of " +
                               std::to_string(count) + " bytes");
    }
    bytes += more;
  }
  return bytes;
}

std::string peer::receive_all() {
  std::string bytes;
  for (std::string more = receive_some(); !more.empty(); more = receive_some()) {
    bytes += more;
  }
  return bytes;
}

bool peer::has_ended() {
  wait_for(fd_, POLLIN);
  char byte = 0;
  return ::recv(fd_, &byte, 1, MSG_PEEK) <= 0;
}

bool peer::is_readable(std::chrono::milliseconds within) {
  pollfd ready{fd_, POLLIN, 0};
  return ::poll(&ready, 1, static_cast<int>(within.count())) > 0;
}

bool peer::echoes(std::string_view bytes) {
  send(bytes);
  return receive(bytes.size()) == bytes;
}

void peer::half_close() {
  if (::shutdown(fd_, SHUT_WR) != 0) {
    fail("shutdown");
  }
}

void peer::reset() {
  const linger at_once{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close();
}

void peer::close() {
  if (fd_ >= 0) {
    ::close(std::exchange(fd_, -1));
  }
}

std::string pattern(std::size_t size, std::uint64_t seed) {
  std::string bytes(size, '\0');
  std::uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15U;
  for (char& byte : bytes) {
    state ^= state << 13;  // xorshift64 (Marsaglia 2003)
    state ^= state >> 7;
    state ^= state << 17;
    byte = static_cast<char>(state >> 32);
  }
  return bytes;
}

}  // namespace aramid::e2e
