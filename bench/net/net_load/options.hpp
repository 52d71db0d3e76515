// What the command line of net_load asks for.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace net_load {

enum class load_mode : std::uint8_t {
  loop,  // every connection keeps `depth` requests in flight until the time is up (with a rate: open loop)
  hold,  // every connection does one round trip, and none is closed before all have
};

struct options {
  std::string host = "127.0.0.1";
  std::uint16_t port = 7777;
  load_mode mode = load_mode::loop;
  unsigned connections = 64;
  unsigned size_bytes = 64;
  unsigned depth = 1;
  double rate_per_second = 0;    // of an open loop; 0: the loop is closed
  double stalls_per_second = 0;  // requests that ask for 1 ms of CPU; 0: none does
  double warmup_seconds = 0.5;
  double seconds = 5.0;
  double timeout_seconds = 10.0;  // for connecting, and again for the answers still due at the end
  std::uint64_t seed = 1;
  bool verify = true;
  bool json = false;
  bool quiet = false;
  std::optional<int> pin_cpu;
  std::optional<pid_t> server_pid;

  [[nodiscard]] bool has_rate() const noexcept { return rate_per_second > 0; }
  [[nodiscard]] bool has_stalls() const noexcept { return stalls_per_second > 0; }
};

/// Reads the command line into `parsed`.
/// Returns: nothing if the program should go on, else its exit code (0 after --help, 2 after a
/// mistake).
std::optional<int> parse_options(int argc, char** argv, options& parsed);

}  // namespace net_load
