// One connection to the server: a stream of requests out, the same stream back.
//
// Positions are byte counts of the whole stream: received <= sent <= issued. A request is issued
// when the loop allows it, sent as far as the socket takes it, and complete when its last byte has come
// back.
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

struct request {
  std::uint64_t due_ns = 0;  // what its latency counts from
  bool marked = false;       // it asks for a stall
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

  /// Allows one more request; send() carries it.
  void issue(request next) noexcept;

  /// Sends what is issued as far as the socket takes it.
  /// Throws: connection_failure.
  void send(std::span<std::byte> scratch);

  /// Receives once and verifies.
  /// Returns: how many requests that completed; take_completed() tells which.
  /// Throws:  connection_failure.
  unsigned receive(std::span<std::byte> scratch);

  /// Returns: the oldest request that completed and has not been taken, and takes it.
  request take_completed() noexcept;

  void close() noexcept;

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  [[nodiscard]] unsigned index() const noexcept { return index_; }
  [[nodiscard]] bool open() const noexcept { return descriptor_ >= 0; }
  [[nodiscard]] bool wants_to_send() const noexcept { return sent_bytes_ < issued_bytes_; }
  [[nodiscard]] std::uint64_t outstanding() const noexcept { return issued_ - completed_; }

  bool polled_for_output = false;  // written by load: what the descriptor is registered for

private:
  /// Sets the marks of the requests that begin in `bytes`, or, where they are set, clears them.
  void flip_marks(std::uint64_t position, std::span<std::byte> bytes) const noexcept;

  std::vector<request> requests_;  // ring of `depth`
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
  bool has_stalls_;
};

}  // namespace net_load
