// The CPU time of another process.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>

namespace net_load {

/// Reads the CPU clock of a process: user and system time of all its threads, finished ones and the
/// kernel's io_uring workers included, in nanoseconds. (/proc/PID/stat counts the same in ticks of
/// 10 ms; the schedstat files leave out the running slice and the threads that have ended.)
class process_cpu {
public:
  /// Throws: bad_usage if there is no such process.
  explicit process_cpu(pid_t process);

  /// Throws: server_unreachable if the process has ended.
  [[nodiscard]] std::uint64_t now_ns() const;

private:
  pid_t process_;
  clockid_t clock_ = {};
};

}  // namespace net_load
