// How long a thread has run, and how long it was ready to run and no CPU was free: what the kernel counts
// in /proc/<pid>/task/<tid>/schedstat (Documentation/scheduler/sched-stats.rst, "/proc/<pid>/schedstat").
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>

namespace aramid::inline v0::detail {

struct cpu_times {
  std::chrono::nanoseconds ran{0};
  std::chrono::nanoseconds waited{0};

  cpu_times& operator+=(const cpu_times& more) noexcept {
    ran += more.ran;
    waited += more.waited;
    return *this;
  }
  friend cpu_times operator-(const cpu_times& a, const cpu_times& b) noexcept { return {a.ran - b.ran, a.waited - b.waited}; }
};

/// Keeps a descriptor for one thread of this process. Not thread-safe.
class run_delay {
public:
  run_delay() noexcept = default;
  ~run_delay() { close(); }

  run_delay(const run_delay&) = delete;
  run_delay& operator=(const run_delay&) = delete;
  run_delay(run_delay&& other) noexcept;

  /// Without /proc, without CONFIG_SCHED_INFO, or with no descriptor left, `read` will say nothing.
  void open(pid_t thread) noexcept;
  void close() noexcept;

  /// Since the thread began. Costs a system call, about 1 µs.
  [[nodiscard]] std::optional<cpu_times> read() const noexcept;

private:
  int fd_ = -1;
};

}  // namespace aramid::inline v0::detail
