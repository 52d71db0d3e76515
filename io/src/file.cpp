// file: the public forms over file_state.hpp.
#include <aramid/io/file.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <string>

#include <aramid/driver.hpp>

#include "calls.hpp"
#include "file_state.hpp"
#include "perform.hpp"

namespace aramid::inline v0 {

namespace detail {
namespace {

file_ptr make_file(int fd, runtime_ref home) {
  try {
    return file_ptr(new file_state(fd, std::move(home)));
  } catch (...) {
    ::close(fd);
    throw;
  }
}

/// Descriptors of ours are: otherwise the ring says -EAGAIN instead of waiting (liburing#364).
void make_blocking(int fd) noexcept {
  if (const int flags = ::fcntl(fd, F_GETFL); flags >= 0 && (flags & O_NONBLOCK) != 0) {
    ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  }
}

std::uint32_t open_flags(const io::open_options& options) {
  if (!options.read && !options.write && !options.append) {
    throw std::invalid_argument("file::open: options: neither read nor write");
  }
  const bool writes = options.write || options.append;
  int flags = O_CLOEXEC;
  flags |= writes ? (options.read ? O_RDWR : O_WRONLY) : O_RDONLY;
  flags |= options.create ? O_CREAT : 0;
  flags |= options.exclusive ? O_EXCL : 0;
  flags |= options.truncate ? O_TRUNC : 0;
  flags |= options.append ? O_APPEND : 0;
  flags |= options.direct ? O_DIRECT : 0;
  return static_cast<std::uint32_t>(flags);
}

file_ptr open_file(std::string_view path, const io::open_options& options, std::error_code& ec) {
  if (path.find('\0') != path.npos) {
    throw std::invalid_argument("file::open: path: it has a zero byte");
  }
  const std::string terminated(path);
  const runtime_ref home = runtime_ref::current();
  operation op(op_kind::open, AT_FDCWD);
  op.address = const_cast<char*>(terminated.c_str());
  op.mode = options.permissions;
  // O_NONBLOCK: io_uring itself opens with it when it finds the path in its caches, and without it
  // when it does not, so a FIFO would wait for its other end at one time and not at another
  // (io_openat2 in the kernel's io_uring/openclose.c). This way it never does. On a file that
  // somebody has a lease on it says -EAGAIN: then it is waited for (man open, man fcntl).
  op.flags = open_flags(options) | O_NONBLOCK;
  std::int32_t result = perform(op, home, "file::open");
  if (result == -EAGAIN) {
    op.flags = open_flags(options);
    result = perform(op, home, "file::open");
  }
  if (result < 0) {
    ec = system_error_of(result);
    return nullptr;
  }
  file_ptr opened = make_file(result, home);
  make_blocking(result);
  return opened;
}

/// `call(state, user)` on an open file; else errc::closed.
template <class Call>
void with_file(file_state* state, use how, const char* who, std::error_code& ec, Call&& call) {
  enter_wait();
  if (state != nullptr) {
    if (descriptor_user user(state->handle, how, who); user) {
      call(*state, user);
      return;
    }
  }
  ec = io::errc::closed;
}

// Those that use the position exclude each other, readers and writers: all are the descriptor's
// `reader`.
constexpr use use_of_position = use::reader;

std::size_t read_some(file_state* state, std::span<std::byte> buffer, std::error_code& ec) {
  std::size_t count = 0;
  with_file(state, use_of_position, "file::read_some", ec,
            [&](file_state& s, descriptor_user& user) {
              if (!buffer.empty()) {
                count = read_once(s, user, s.position, buffer, ec);
                s.position += count;
              }
            });
  return count;
}

std::size_t read_at(file_state* state, std::uint64_t offset, std::span<std::byte> buffer,
                    std::error_code& ec) {
  std::size_t got = 0;
  with_file(state, use::shared, "file::read_at", ec, [&](file_state& s, descriptor_user& user) {
    if (!s.seekable) {
      ec = system_error_of(-ESPIPE);
      return;
    }
    while (got < buffer.size()) {
      const std::size_t count = read_once(s, user, offset + got, buffer.subspan(got), ec);
      if (count == 0) {
        return;
      }
      got += count;
    }
  });
  return got;
}

void write_all(file_state* state, std::span<const std::byte> data, std::size_t& written,
               std::error_code& ec) {
  written = 0;
  with_file(state, use_of_position, "file::write_all", ec,
            [&](file_state& s, descriptor_user& user) {
              // The position follows what was written, also when a cancellation cuts it short.
              struct advance {
                file_state& state;
                const std::size_t& written;
                ~advance() { state.position += state.appends ? 0 : written; }
              } const at_end{s, written};
              write_fully(s, user, s.position, data, written, ec);
            });
}

void write_at(file_state* state, std::uint64_t offset, std::span<const std::byte> data,
              std::size_t& written, std::error_code& ec) {
  with_file(state, use::shared, "file::write_at", ec, [&](file_state& s, descriptor_user& user) {
    if (!s.seekable) {
      ec = system_error_of(-ESPIPE);
      return;
    }
    write_fully(s, user, offset, data, written, ec);
  });
}

std::uint64_t size(file_state* state, std::error_code& ec) {
  std::uint64_t bytes = 0;
  with_file(state, use::shared, "file::size", ec, [&](file_state&, descriptor_user& user) {
    struct statx info {};
    operation op(op_kind::stat, user.fd());
    op.address = &info;
    op.length = STATX_SIZE;
    op.flags = AT_EMPTY_PATH;
    if (const std::int32_t result = user.perform(op); result < 0) {
      ec = user.closing() ? std::error_code(io::errc::closed) : system_error_of(result);
    }
    bytes = info.stx_size;
  });
  return bytes;
}

void sync(file_state* state, std::uint32_t flags, const char* who, std::error_code& ec) {
  with_file(state, use::shared, who, ec, [&](file_state&, descriptor_user& user) {
    operation op(op_kind::sync, user.fd());
    op.flags = flags;
    if (const std::int32_t result = user.perform(op); result < 0) {
      ec = user.closing() ? std::error_code(io::errc::closed) : system_error_of(result);
    }
  });
}

}  // namespace

void file_delete::operator()(file_state* gone) const noexcept { delete gone; }

}  // namespace detail

namespace io {

using detail::coded;
using detail::throwing;

file::file(detail::file_ptr state) noexcept : state_(std::move(state)) {}

file file::open(std::string_view path, const open_options& options) {
  std::error_code ec;
  file result(detail::open_file(path, options, ec));
  if (ec) {
    throw std::system_error(ec, "file::open \"" + std::string(path) + '"');
  }
  return result;
}

file file::open(std::string_view path, const open_options& options, std::error_code& ec) {
  return file(coded(ec, [&] { return detail::open_file(path, options, ec); }));
}

file file::adopt(int fd) {
  return fd < 0 ? file() : file(detail::make_file(fd, detail::runtime_ref::current()));
}

std::size_t file::read_some(std::span<std::byte> buffer) {
  return throwing("file::read_some",
                  [&](std::error_code& ec) { return detail::read_some(state_.get(), buffer, ec); });
}

std::size_t file::read_some(std::span<std::byte> buffer, std::error_code& ec) {
  return coded(ec, [&] { return detail::read_some(state_.get(), buffer, ec); });
}

std::size_t file::read_at(std::uint64_t offset, std::span<std::byte> buffer) {
  return throwing("file::read_at", [&](std::error_code& ec) {
    return detail::read_at(state_.get(), offset, buffer, ec);
  });
}

std::size_t file::read_at(std::uint64_t offset, std::span<std::byte> buffer, std::error_code& ec) {
  return coded(ec, [&] { return detail::read_at(state_.get(), offset, buffer, ec); });
}

void file::write_all(std::span<const std::byte> data) {
  std::size_t written = 0;
  write_all(data, written);
}

void file::write_all(std::span<const std::byte> data, std::size_t& written) {
  std::error_code ec;
  detail::write_all(state_.get(), data, written, ec);
  if (ec) {
    throw write_error(ec, "file::write_all", written);
  }
}

std::size_t file::write_all(std::span<const std::byte> data, std::error_code& ec) {
  std::size_t written = 0;
  coded(ec, [&] { detail::write_all(state_.get(), data, written, ec); });
  return written;
}

void file::write_at(std::uint64_t offset, std::span<const std::byte> data) {
  std::error_code ec;
  std::size_t written = 0;
  detail::write_at(state_.get(), offset, data, written, ec);
  if (ec) {
    throw write_error(ec, "file::write_at", written);
  }
}

std::size_t file::write_at(std::uint64_t offset, std::span<const std::byte> data,
                           std::error_code& ec) {
  std::size_t written = 0;
  coded(ec, [&] { detail::write_at(state_.get(), offset, data, written, ec); });
  return written;
}

std::uint64_t file::position() const noexcept { return state_ == nullptr ? 0 : state_->position; }

void file::seek(std::uint64_t position) noexcept {
  if (state_ != nullptr) {
    state_->position = position;
  }
}

std::uint64_t file::size() const {
  return throwing("file::size",
                  [&](std::error_code& ec) { return detail::size(state_.get(), ec); });
}

std::uint64_t file::size(std::error_code& ec) const {
  return coded(ec, [&] { return detail::size(state_.get(), ec); });
}

void file::sync() {
  throwing("file::sync",
           [&](std::error_code& ec) { detail::sync(state_.get(), 0, "file::sync", ec); });
}

void file::sync(std::error_code& ec) {
  coded(ec, [&] { detail::sync(state_.get(), 0, "file::sync", ec); });
}

void file::sync_data() {
  throwing("file::sync_data", [&](std::error_code& ec) {
    detail::sync(state_.get(), detail::data_only, "file::sync_data", ec);
  });
}

void file::sync_data(std::error_code& ec) {
  coded(ec, [&] { detail::sync(state_.get(), detail::data_only, "file::sync_data", ec); });
}

void file::close() {
  std::error_code ec;
  close(ec);
  if (ec) {
    throw std::system_error(ec, "file::close");
  }
}

void file::close(std::error_code& ec) noexcept {
  ec.clear();
  if (state_ != nullptr) {
    ec = state_->handle.close();
  }
}

bool file::is_open() const noexcept { return state_ != nullptr && state_->handle.is_open(); }

int file::native_handle() const noexcept {
  return state_ == nullptr ? -1 : state_->handle.number();
}

int file::release() { return state_ == nullptr ? -1 : state_->handle.release("file::release"); }

}  // namespace io
}  // namespace aramid::inline v0
