// A client of the echo server, with nothing of aramid in it: plain sockets, poll(2), and a bound on every wait.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "server_process.hpp"

namespace aramid::e2e {

/// One connection to 127.0.0.1. What fails, or takes longer than `patience`, is a std::runtime_error.
class peer {
public:
  explicit peer(std::uint16_t port, int receive_buffer_bytes = 0);
  peer(peer&& other) noexcept;
  peer& operator=(peer&& other) noexcept;
  ~peer() { close(); }

  /// Returns: nothing if the server refuses.
  [[nodiscard]] static bool is_refused(std::uint16_t port);

  void send(std::string_view bytes);
  /// As much as the kernel takes at once. Returns: how much that was.
  std::size_t send_some(std::string_view bytes);

  /// Exactly `count` bytes.
  [[nodiscard]] std::string receive(std::size_t count);
  /// What there is, at least a byte; "" at end of stream. A reset is an error.
  [[nodiscard]] std::string receive_some(std::size_t most = 65536);
  /// All until end of stream.
  [[nodiscard]] std::string receive_all();
  /// Returns true when the server has closed, whichever way; false if bytes are there.
  [[nodiscard]] bool has_ended();
  [[nodiscard]] bool is_readable(std::chrono::milliseconds within = {});

  /// Sends `bytes` and waits for them. Returns: whether they came back unchanged.
  [[nodiscard]] bool echoes(std::string_view bytes);

  void half_close();
  /// Closes with RST.
  void reset();
  void close();

  [[nodiscard]] int fd() const noexcept { return fd_; }

private:
  int fd_ = -1;
};

/// `size` bytes that differ from place to place and from seed to seed, so that lost, doubled and foreign ones show.
[[nodiscard]] std::string pattern(std::size_t size, std::uint64_t seed);

}  // namespace aramid::e2e
