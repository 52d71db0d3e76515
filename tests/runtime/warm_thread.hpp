// For tests that count the threads of their process.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <string>
#include <thread>

namespace aramid::test {

/// A sanitizer may start a thread of its own with the first thread of the program: that is one, and when this returns it has ended and is counted by
/// nobody. A joined thread stays listed until the kernel has reaped it.
inline void warm_up_threads() {
  pid_t warm = 0;
  std::thread([&] { warm = ::gettid(); }).join();
  const std::string listed = "/proc/self/task/" + std::to_string(warm);
  while (::access(listed.c_str(), F_OK) == 0) {
    std::this_thread::yield();
  }
}

}  // namespace aramid::test
