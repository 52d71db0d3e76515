// An epoll descriptor with its buffer of events.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <span>

namespace net_load {

class epoll_set {
public:
  /// Throws: bad_usage if no descriptor is left.
  epoll_set();
  epoll_set(const epoll_set&) = delete;
  epoll_set& operator=(const epoll_set&) = delete;
  ~epoll_set();

  /// Throws: bad_usage if the kernel refuses (fs.epoll.max_user_watches).
  void add(int descriptor, std::uint32_t events, std::uint32_t index);
  void modify(int descriptor, std::uint32_t events, std::uint32_t index) noexcept;
  void remove(int descriptor) noexcept;

  /// Returns: what is ready, after at most `milliseconds`; valid until the next wait.
  std::span<const epoll_event> wait(int milliseconds) noexcept;

  /// The same to the nanosecond.
  /// Throws: bad_usage where the kernel cannot (before Linux 5.11, or some seccomp filters).
  std::span<const epoll_event> wait_ns(std::uint64_t nanoseconds);

private:
  std::array<epoll_event, 512> events_;
  int descriptor_;
};

}  // namespace net_load
