// What another process keeps in memory.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace net_load {

/// Its resident set, in bytes: anonymous memory and whatever of files is mapped; not what the kernel keeps for its sockets.
/// (/proc/PID/statm, man 5 proc_pid_statm.)
/// Throws: server_unreachable if the process has ended.
[[nodiscard]] std::uint64_t resident_bytes_of(pid_t process);

}  // namespace net_load
