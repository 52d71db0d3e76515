#include "connection.hpp"

#include "../stall.h"
#include "failure.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace net_load {

namespace {

std::string name_of(unsigned index) { return "connection " + std::to_string(index); }

connection_failure reset(unsigned index, const char* during, int error) {
  return {failure_kind::reset, name_of(index) + ": " + during + ": " + std::strerror(error)};
}

}  // namespace

connection::connection(const options& settings, unsigned index)
    : requests_(settings.depth),
      pattern_(settings.seed, index, settings.size_bytes, settings.has_stalls()),
      request_size_bytes_(settings.size_bytes),
      index_(index),
      verify_(settings.verify),
      has_stalls_(settings.has_stalls()) {}

connection::connection(connection&& other) noexcept
    : polled_for_output(other.polled_for_output),
      requests_(std::move(other.requests_)),
      pattern_(other.pattern_),
      request_size_bytes_(other.request_size_bytes_),
      issued_bytes_(other.issued_bytes_),
      sent_bytes_(other.sent_bytes_),
      received_bytes_(other.received_bytes_),
      issued_(other.issued_),
      completed_(other.completed_),
      taken_(other.taken_),
      descriptor_(std::exchange(other.descriptor_, -1)),
      index_(other.index_),
      verify_(other.verify_),
      has_stalls_(other.has_stalls_) {}

connection::~connection() { close(); }

int connection::start_connect(const server_address& server) {
  descriptor_ = ::socket(server.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor_ < 0) {
    return errno;
  }
  const int yes = 1;
  ::setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
  const auto* address = reinterpret_cast<const sockaddr*>(&server.storage);
  if (::connect(descriptor_, address, server.length) != 0 && errno != EINPROGRESS) {
    const int error = errno;
    close();
    return error;
  }
  return 0;
}

int connection::finish_connect() {
  int error = 0;
  socklen_t length = sizeof(error);
  if (::getsockopt(descriptor_, SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
    error = errno;
  }
  if (error != 0) {
    close();
  }
  return error;
}

void connection::issue(request next) noexcept {
  requests_[issued_++ % requests_.size()] = next;
  issued_bytes_ += request_size_bytes_;
}

void connection::flip_marks(std::uint64_t position, std::span<std::byte> bytes) const noexcept {
  std::uint64_t number = (position + request_size_bytes_ - 1) / request_size_bytes_;
  for (std::uint64_t at = number * request_size_bytes_ - position; at < bytes.size();
       at += request_size_bytes_) {
    if (requests_[number++ % requests_.size()].marked) {
      bytes[at] ^= std::byte{stall_mark};
    }
  }
}

void connection::send(std::span<std::byte> scratch) {
  while (wants_to_send()) {
    const std::size_t count = std::min<std::uint64_t>(issued_bytes_ - sent_bytes_, scratch.size());
    pattern_.fill(sent_bytes_, scratch.first(count));
    if (has_stalls_) {
      flip_marks(sent_bytes_, scratch.first(count));
    }
    const ssize_t sent = ::send(descriptor_, scratch.data(), count, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) {
        continue;
      }
      if (errno == EAGAIN) {
        return;
      }
      throw reset(index_, "send", errno);
    }
    sent_bytes_ += static_cast<std::uint64_t>(sent);
  }
}

unsigned connection::receive(std::span<std::byte> scratch) {
  const ssize_t got = ::recv(descriptor_, scratch.data(), scratch.size(), 0);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) {
      return 0;
    }
    throw reset(index_, "receive", errno);
  }
  if (got == 0) {
    throw connection_failure(failure_kind::early_eof, name_of(index_) +
                                                          ": the server closed it after " +
                                                          std::to_string(received_bytes_) + " of " +
                                                          std::to_string(sent_bytes_) + " bytes");
  }
  const auto received = scratch.first(static_cast<std::size_t>(got));
  if (received_bytes_ + received.size() > sent_bytes_) {
    throw connection_failure(failure_kind::mismatch,
                             name_of(index_) + ": " + std::to_string(received.size()) +
                                 " bytes received where at most " +
                                 std::to_string(sent_bytes_ - received_bytes_) + " were due");
  }
  if (verify_) {
    if (has_stalls_) {
      flip_marks(received_bytes_, received);
    }
    if (const auto wrong = pattern_.mismatch(received_bytes_, received)) {
      throw connection_failure(failure_kind::mismatch,
                               name_of(index_) + ": byte " +
                                   std::to_string(received_bytes_ + *wrong) +
                                   " of the stream came back changed");
    }
  }
  received_bytes_ += received.size();
  const std::uint64_t completed = received_bytes_ / request_size_bytes_;
  const auto newly = static_cast<unsigned>(completed - completed_);
  completed_ = completed;
  return newly;
}

request connection::take_completed() noexcept { return requests_[taken_++ % requests_.size()]; }

void connection::close() noexcept {
  if (descriptor_ >= 0) {
    ::close(std::exchange(descriptor_, -1));
  }
}

}  // namespace net_load
