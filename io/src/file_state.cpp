#include "file_state.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include <aramid/driver.hpp>

#include "calls.hpp"
#include "operation.hpp"

namespace aramid::inline v0::detail {
namespace {

std::uint64_t kernel_offset(const file_state& state, std::uint64_t offset,
                            std::size_t done) noexcept {
  return state.seekable ? offset + done : stream_offset;
}

/// Whether the kernel takes it: of those beyond it refuses all but the last, which is to it where the descriptor stands.
bool is_offset(const file_state& state, std::uint64_t offset) noexcept {
  return !state.seekable || offset <= static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
}

/// Whether `fd` is a file of tmpfs or hugetlbfs: those are the ones that have seals (man fcntl). Not fstatfs, which asks the server of a
/// network file system.
bool is_memory(int fd) noexcept { return ::fcntl(fd, F_GET_SEALS) >= 0; }

/// Without waiting for a device. -EAGAIN: not in the cache.
ssize_t read_now(const file_state& state, int fd, std::span<std::byte> buffer, std::uint64_t offset) noexcept {
  const iovec part{buffer.data(), std::min(buffer.size(), max_transfer_bytes)};
  const auto at = static_cast<off_t>(offset);
  const ssize_t result = state.in_memory ? ::pread(fd, part.iov_base, part.iov_len, at) : ::preadv2(fd, &part, 1, at, RWF_NOWAIT);
  return result >= 0 ? result : -errno;
}

}  // namespace

file_state::file_state(int fd, runtime_ref home) noexcept
    : handle(fd, descriptor::kind::file, std::move(home)) {
  struct stat info {};
  const int flags = ::fcntl(fd, F_GETFL);
  appends = flags >= 0 && (flags & O_APPEND) != 0;
  const bool known = ::fstat(fd, &info) == 0;
  has_pages = known && (S_ISREG(info.st_mode) || S_ISBLK(info.st_mode));
  seekable = has_pages || ::lseek(fd, 0, SEEK_CUR) >= 0;
  in_memory = has_pages && is_memory(fd);
  direct = has_pages && (flags < 0 || (flags & O_DIRECT) != 0);
  try_cache.store(in_memory || (has_pages && !direct), std::memory_order_relaxed);
}

std::size_t read_once(file_state& state, descriptor_user& user, std::uint64_t offset,
                      std::span<std::byte> buffer, std::error_code& ec) {
  if (ARAMID_UNLIKELY(!is_offset(state, offset))) {
    ec = system_error_of(-EINVAL);
    return 0;
  }
  std::int64_t result = -EAGAIN;
  if (state.try_cache.load(std::memory_order_relaxed)) {
    enter_wait();
    result = read_now(state, user.fd(), buffer, offset);
    if (result >= 0) {
      count_ready();
      return static_cast<std::size_t>(result);
    }
    if (result == -EOPNOTSUPP || result == -ENOSYS) {
      state.try_cache.store(false, std::memory_order_relaxed);
    }
  }
  operation op(op_kind::read, user.fd());
  op.address = buffer.data();
  op.length = static_cast<std::uint32_t>(std::min(buffer.size(), max_transfer_bytes));
  op.offset = kernel_offset(state, offset, 0);
  op.to_device = state.has_pages;  // what the page cache has was tried before, if the file system can
  result = user.perform(op);
  if (result >= 0) {
    return static_cast<std::size_t>(result);
  }
  ec = user.closing() ? std::error_code(io::errc::closed) : system_error_of(result);
  return 0;
}

void write_fully(file_state& state, descriptor_user& user, std::uint64_t offset,
                 std::span<const std::byte> data, std::size_t& written, std::error_code& ec) {
  if (ARAMID_UNLIKELY(!is_offset(state, offset))) {
    ec = system_error_of(-EINVAL);
    return;
  }
  while (written < data.size()) {
    const std::span<const std::byte> rest = data.subspan(written);
    operation op(op_kind::write, user.fd());
    op.address = const_cast<std::byte*>(rest.data());
    op.length = static_cast<std::uint32_t>(std::min(rest.size(), max_transfer_bytes));
    op.offset = kernel_offset(state, offset, written);
    op.to_device = state.direct;
    const std::int32_t result = user.perform(op);
    if (result < 0) {
      ec = user.closing() ? std::error_code(io::errc::closed) : system_error_of(result);
      return;
    }
    if (result == 0) {
      // No file says that; it would be tried for ever.
      ec = std::make_error_code(std::errc::io_error);
      return;
    }
    written += static_cast<std::size_t>(result);
  }
}

}  // namespace aramid::inline v0::detail
