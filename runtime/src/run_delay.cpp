#include "run_delay.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <utility>

namespace aramid::inline v0::detail {

run_delay::run_delay(run_delay&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

void run_delay::open(pid_t thread) noexcept {
  close();
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%ld/schedstat", static_cast<long>(thread));
  fd_ = ::open(path, O_RDONLY | O_CLOEXEC);
}

void run_delay::close() noexcept {
  if (fd_ >= 0) {
    ::close(std::exchange(fd_, -1));
  }
}

std::optional<cpu_times> run_delay::read() const noexcept {
  char text[96];
  const ssize_t size = fd_ < 0 ? -1 : ::pread(fd_, text, sizeof text - 1, 0);
  if (size <= 0) {
    return std::nullopt;
  }
  text[size] = '\0';
  std::uint64_t ran = 0, waited = 0;
  if (std::sscanf(text, "%" SCNu64 " %" SCNu64, &ran, &waited) != 2) {
    return std::nullopt;
  }
  return cpu_times{std::chrono::nanoseconds(ran), std::chrono::nanoseconds(waited)};
}

}  // namespace aramid::inline v0::detail
