#include "process_memory.hpp"

#include "failure.hpp"

#include <unistd.h>

#include <fstream>
#include <string>

namespace net_load {

std::uint64_t resident_bytes_of(pid_t process) {
  std::ifstream statm("/proc/" + std::to_string(process) + "/statm");
  std::uint64_t size_pages = 0;
  std::uint64_t resident_pages = 0;
  if (!(statm >> size_pages >> resident_pages) || resident_pages == 0) {  // 0: a zombie
    throw server_unreachable("the server process " + std::to_string(process) + " has ended");
  }
  return resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace net_load
