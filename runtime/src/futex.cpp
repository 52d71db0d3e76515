#include "futex.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <climits>

namespace aramid::inline v0::detail {

void futex_wait(const void* word, std::uint32_t expected, time_point deadline) noexcept {
  timespec until{};
  const timespec* limit = nullptr;
  if (deadline != time_point::max()) {
    // libstdc++'s steady_clock is CLOCK_MONOTONIC, which is what FUTEX_WAIT_BITSET's absolute time means.
    const auto since = deadline.time_since_epoch();
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(since);
    until.tv_sec = whole.count() < 0 ? 0 : whole.count();
    until.tv_nsec = whole.count() < 0 ? 0 : std::chrono::nanoseconds(since - whole).count();
    if (until.tv_nsec < 0) {
      until.tv_nsec = 0;
    }
    limit = &until;
  }
  syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, limit, nullptr,
          FUTEX_BITSET_MATCH_ANY);
#if defined(__SANITIZE_THREAD__)
  // ThreadSanitizer keeps a signal back until the thread calls something that it intercepts, and a raw system call is not:
  // a thread that only ever waits here would never run its handlers.
  usleep(0);
#endif
}

void futex_wake(const void* word) noexcept {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace aramid::inline v0::detail
