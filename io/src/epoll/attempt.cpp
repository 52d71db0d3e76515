#include "attempt.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstdlib>
#include <mutex>

#include "../io_driver.hpp"
#include "registration.hpp"

namespace aramid::inline v0::detail {
namespace {

std::int32_t result_of(std::int64_t returned) noexcept {
  return returned >= 0 ? static_cast<std::int32_t>(returned) : -errno;
}

void set_nonblocking(int fd, bool on) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  ::fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

/// accept has no flag for one call: a connection that epoll has told of may be somebody else's by now, in another process too.
void make_nonblocking(int fd, registration& of) noexcept {
  const std::lock_guard guard(of.lock);
  if (!of.was_blocking && (::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0) {
    set_nonblocking(fd, true);
    of.was_blocking = true;
  }
}

std::int32_t connect_now(const operation& op) noexcept {
  // Asked again while it is under way, the kernel says so, or how it ended.
  set_nonblocking(op.fd, true);
  const std::int32_t result = result_of(::connect(op.fd, static_cast<const sockaddr*>(op.address), op.length));
  set_nonblocking(op.fd, false);
  return result == -EINPROGRESS || result == -EALREADY ? -EAGAIN : result;
}

std::int32_t transfer_now(const operation& op, registration& of) noexcept {
  const iovec part{op.address, op.length};
  if (!of.no_nowait.load(std::memory_order_relaxed)) {
    const std::int32_t result = result_of(op.kind == op_kind::read ? ::preadv2(op.fd, &part, 1, -1, RWF_NOWAIT)
                                                                   : ::pwritev2(op.fd, &part, 1, -1, RWF_NOWAIT));
    if (result != -EOPNOTSUPP && result != -EPERM) {  // a sandbox may refuse the call so
      return result;
    }
    of.no_nowait.store(true, std::memory_order_relaxed);
  }
  const int flags = ::fcntl(op.fd, F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK) != 0) {
    return result_of(op.kind == op_kind::read ? ::readv(op.fd, &part, 1) : ::writev(op.fd, &part, 1));
  }
  return poll_now(op.fd, op.events()) == 0 ? -EAGAIN : readiness_driver::needs_thread;
}

std::int32_t receive_on_heap(operation& op) noexcept {
  void* const memory = std::malloc(op.length);
  if (memory == nullptr) {
    return -ENOMEM;
  }
  const std::int32_t result = result_of(::recv(op.fd, memory, op.length, static_cast<int>(op.flags) | MSG_DONTWAIT));
  if (result <= 0) {
    std::free(memory);
    return result;
  }
  op.address = memory;
  op.lender = nullptr;
  return result;
}

}  // namespace

std::int32_t poll_now(int fd, std::uint32_t events) noexcept {
  pollfd one{fd, static_cast<short>(events), 0};
  const int count = ::poll(&one, 1, 0);
  return count < 0 ? -errno : one.revents;
}

std::int32_t attempt(operation& op, registration& of) noexcept {
  const int flags = static_cast<int>(op.flags);
  switch (op.kind) {
    case op_kind::receive:
      return result_of(::recv(op.fd, op.address, op.length, flags | MSG_DONTWAIT));
    case op_kind::receive_lent:
      return receive_on_heap(op);
    case op_kind::send:
      return result_of(::send(op.fd, op.address, op.length, flags | MSG_DONTWAIT));
    case op_kind::receive_message:
      return result_of(::recvmsg(op.fd, static_cast<msghdr*>(op.address), flags | MSG_DONTWAIT));
    case op_kind::send_message:
      return result_of(::sendmsg(op.fd, static_cast<const msghdr*>(op.address), flags | MSG_DONTWAIT));
    case op_kind::accept:
      make_nonblocking(op.fd, of);
      return result_of(::accept4(op.fd, nullptr, nullptr, flags));
    case op_kind::connect:
      return connect_now(op);
    case op_kind::read:
    case op_kind::write:
      return transfer_now(op, of);
    case op_kind::poll: {
      const std::int32_t events = poll_now(op.fd, op.flags);
      return events != 0 ? events : -EAGAIN;
    }
    default:
      return -EOPNOTSUPP;
  }
}

}  // namespace aramid::inline v0::detail
