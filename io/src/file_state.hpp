// An open file: what reading and writing one mean. file.cpp wraps it.
//
// Reading tries preadv2(RWF_NOWAIT) first, which takes what the page cache has and else says
// -EAGAIN; then the driver. Not for O_DIRECT, where the call would wait for the device, nor for
// what is no regular file or block device; and a file system that does not know the flag is asked
// once.
//
// A file of tmpfs (memfd_create, /dev/shm, many a /tmp) is memory and has no device to wait for, but its file system does not know the
// flag, so the ring would give each read to a kernel thread: 7.6 µs instead of 1.1. It is read by a plain pread. What has been
// swapped out is waited for by the whole worker, as it is when a fiber touches any other memory of the program's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <utility>

#include <aramid/io/file.hpp>

#include "descriptor.hpp"

namespace aramid::inline v0::detail {

struct file_state {
  /// Asks the kernel what `fd` is: three calls that do not wait.
  file_state(int fd, runtime_ref home) noexcept;

  descriptor handle;
  bool appends = false;
  bool seekable = false;
  bool has_pages = false;              // a regular file or a block device
  bool in_memory = false;              // the whole file is, always
  bool direct = false;                 // O_DIRECT: nothing goes by way of the page cache
  std::atomic<bool> try_cache{false};  // relaxed everywhere: a hint
  std::uint64_t position = 0;          // who is the descriptor's `reader`
};

/// One read at `offset`. Returns: bytes; 0 at the end, or with `ec`.
std::size_t read_once(file_state& state, descriptor_user& user, std::uint64_t offset,
                      std::span<std::byte> buffer, std::error_code& ec);

/// All of `data` at `offset`; `written` counts along.
void write_fully(file_state& state, descriptor_user& user, std::uint64_t offset,
                 std::span<const std::byte> data, std::size_t& written, std::error_code& ec);

}  // namespace aramid::inline v0::detail
