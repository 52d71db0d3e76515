// One connection to the server: a stream of requests out, the same stream back.
//
// Positions are byte counts of the whole stream: received <= sent <= issued. A request is issued
// when the closed loop allows it, sent as far as the socket takes it, and complete when its last
// byte has come back.
#pragma once

#include "options.hpp"
#include "pattern.hpp"

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace net_load {

struct server_address {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

class connection {
public:
  connection(const options& settings, unsigned index);
  connection(connection&& other) noexcept;
  connection& operator=(connection&&) = delete;
  ~connection();

  /// Begins to connect.
  /// Returns: 0 (connected or on the way) or an errno; the socket is then closed again.
  int start_connect(const server_address& server);

  /// Asks how the connect ended.
  /// Returns: 0 or an errno; the socket is then closed again.
  int finish_connect();

  /// Allows `count` more requests, issued at `now_ns`; send() carries them.
  void issue(unsigned count, std::uint64_t now_ns) noexcept;

  /// Sends what is issued as far as the socket takes it.
  /// Throws: connection_failure.
  void send(std::span<std::byte> scratch);

  /// Receives once and verifies.
  /// Returns: how many requests that completed; take_issue_time_ns() tells when each was issued.
  /// Throws:  connection_failure.
  unsigned receive(std::span<std::byte> scratch);

  /// Returns: when the oldest request not yet taken was issued, and takes it.
  std::uint64_t take_issue_time_ns() noexcept;

  void close() noexcept;

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  [[nodiscard]] unsigned index() const noexcept { return index_; }
  [[nodiscard]] bool open() const noexcept { return descriptor_ >= 0; }
  [[nodiscard]] bool wants_to_send() const noexcept { return sent_bytes_ < issued_bytes_; }
  [[nodiscard]] std::uint64_t outstanding() const noexcept { return issued_ - completed_; }

  bool polled_for_output = false;  // written by load: what the descriptor is registered for

private:
  std::vector<std::uint64_t> issue_times_ns_;  // ring of `depth`
  pattern pattern_;
  std::uint64_t request_size_bytes_;
  std::uint64_t issued_bytes_ = 0;
  std::uint64_t sent_bytes_ = 0;
  std::uint64_t received_bytes_ = 0;
  std::uint64_t issued_ = 0;
  std::uint64_t completed_ = 0;
  std::uint64_t taken_ = 0;
  int descriptor_ = -1;
  unsigned index_;
  bool verify_;
};

}  // namespace net_load
