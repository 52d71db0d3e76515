#include "process_cpu.hpp"

#include "failure.hpp"

#include <cstring>
#include <string>

namespace net_load {

process_cpu::process_cpu(pid_t process) : process_(process) {
  if (const int error = ::clock_getcpuclockid(process, &clock_); error != 0) {
    throw bad_usage("--server-pid " + std::to_string(process) + ": " + std::strerror(error));
  }
}

std::uint64_t process_cpu::now_ns() const {
  timespec time{};
  if (::clock_gettime(clock_, &time) != 0) {
    throw server_unreachable("the server process " + std::to_string(process_) + " has ended");
  }
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace net_load
