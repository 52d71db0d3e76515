// A program of ours in a process of its own, seen from outside: its words, its exit, and what /proc says about it.
//
//     server_process server({echo_server, "--workers", "2"});
//     peer client(server.port());
//     …
//     server.signal(SIGINT);
//     EXPECT_EQ(server.wait_exit(), 0) << server.errors();
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace aramid::e2e {

/// How long anything may take that nobody promised a time for: a bound against hanging, not an expectation.
inline constexpr std::chrono::seconds patience{60};

struct process_options {
  /// Both limits on descriptors; else the soft one is lowered to 1,024, which is what a login gives.
  std::optional<rlim_t> descriptors{};
  /// What ARAMID_DRIVER says in it, if not null.
  const char* driver = nullptr;
  /// Without the right to bind ports below 1,024.
  bool may_bind_low_ports = true;
};

/// A child process. Killed, if it still runs, by the destructor.
class process {
public:
  /// Starts `command`; its first word is the program's path.
  /// Throws: std::runtime_error.
  explicit process(const std::vector<std::string>& command, const process_options& options = {});
  process(const process&) = delete;
  process& operator=(const process&) = delete;
  ~process();

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  void signal(int number) const;

  /// Waits until it has ended.
  /// Returns: its exit code, or 128 + the number of the signal that ended it.
  /// Throws:  std::runtime_error if it does not end within `patience`.
  int wait_exit();
  [[nodiscard]] bool has_exited(std::chrono::milliseconds within);

  /// What it has written so far.
  [[nodiscard]] std::string output() const;
  [[nodiscard]] std::string errors() const;

private:
  std::string program_;
  pid_t pid_ = -1;
  int pid_fd_ = -1;
  int output_fd_ = -1;
  int errors_fd_ = -1;
  std::optional<int> exit_code_;
};

/// A server that takes --port and says `listening on HOST:PORT`.
class server_process : public process {
public:
  /// Starts `command --port 0` and waits until it listens.
  /// Throws: std::runtime_error with the words of a server that does not.
  explicit server_process(std::vector<std::string> command, const process_options& options = {});

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

private:
  std::uint16_t port_ = 0;
};

/// Calls `holds` until it is true, at most for `patience`. For what another process does in its own time.
template <class Predicate>
bool eventually(Predicate&& holds);

// --- /proc ---------------------------------------------------------------------------------------

struct process_shape {
  int descriptors = 0;
  int threads = 0;
  std::string listing;  // of both, for a failed test's message

  friend bool operator==(const process_shape& a, const process_shape& b) {
    return a.descriptors == b.descriptors && a.threads == b.threads;
  }
};
[[nodiscard]] process_shape shape_of(pid_t pid);

/// How often each of the program's own threads has slept: grows by one with every wake-up. The kernel's and a sanitizer's
/// threads are left out.
[[nodiscard]] std::map<std::string, std::uint64_t> wake_ups_of(pid_t pid);

/// Whether each of these threads sleeps. One that has been woken and waits for a CPU does not, nor one that sleeps on a futex for a while only.
[[nodiscard]] bool is_asleep(pid_t pid);

/// Whether the kernel still holds a signal that was sent to the process.
[[nodiscard]] bool has_pending_signals(pid_t pid);

void nap();

template <class Predicate>
bool eventually(Predicate&& holds) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= deadline) {
      return false;
    }
    nap();
  }
  return true;
}

}  // namespace aramid::e2e
