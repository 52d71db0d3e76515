#include "blocking_call.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace aramid::inline v0::detail {
namespace {

std::int64_t call(const operation& op) noexcept {
  const int flags = static_cast<int>(op.flags);
  const auto offset = static_cast<off_t>(op.offset);
  switch (op.kind) {
    case op_kind::read:
      return op.offset == stream_offset ? ::read(op.fd, op.address, op.length) : ::pread(op.fd, op.address, op.length, offset);
    case op_kind::write:
      return op.offset == stream_offset ? ::write(op.fd, op.address, op.length) : ::pwrite(op.fd, op.address, op.length, offset);
    case op_kind::open:
      return ::openat(op.fd, static_cast<const char*>(op.address), flags, op.mode);
    case op_kind::close:
      return ::close(op.fd);
    case op_kind::sync:
      return (op.flags & data_only) != 0 ? ::fdatasync(op.fd) : ::fsync(op.fd);
    case op_kind::stat:
      return ::statx(op.fd, "", flags, op.length, static_cast<struct statx*>(op.address));
    default:
      errno = EOPNOTSUPP;
      return -1;
  }
}

}  // namespace

void blocking_call::run() noexcept {
  std::int64_t returned = call(op_);
  // Nobody signals these threads; a handler of the program's may still run on one. A close that was interrupted has closed (man close).
  while (returned < 0 && errno == EINTR && op_.kind != op_kind::close) {
    returned = call(op_);
  }
  result_ = returned >= 0 ? static_cast<std::int32_t>(returned) : -errno;
}

}  // namespace aramid::inline v0::detail
