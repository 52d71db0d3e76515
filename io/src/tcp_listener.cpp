#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>

#include <aramid/detail/deadline.hpp>
#include <aramid/driver.hpp>
#include <aramid/io/tcp.hpp>

#include "calls.hpp"
#include "operation.hpp"
#include "socket_calls.hpp"
#include "stream_socket.hpp"

namespace aramid::inline v0::io {

using detail::coded;
using detail::descriptor;
using detail::descriptor_ptr;
using detail::descriptor_user;
using detail::op_kind;
using detail::operation;
using detail::stream_ptr;
using detail::stream_room;
using detail::throwing;

namespace {

using namespace std::chrono_literals;

constexpr clock::duration first_backoff = 5ms;
constexpr clock::duration last_backoff = 1s;

descriptor_ptr make_listener(int fd) {
  try {
    return descriptor_ptr(
        new descriptor(fd, descriptor::kind::socket, detail::runtime_ref::current()));
  } catch (...) {
    ::close(fd);
    throw;
  }
}

/// Returns: nullptr, with `ec` and the name of the call that failed.
descriptor_ptr listen_at(const endpoint& where, const listen_options& options, std::error_code& ec,
                         const char*& call) {
  call = "socket";
  if (where.family() == AF_UNSPEC) {
    ec = std::make_error_code(std::errc::address_family_not_supported);
    return nullptr;
  }
  const int fd = detail::make_stream_socket(where.family(), ec);
  if (fd < 0) {
    return nullptr;
  }
  descriptor_ptr socket = make_listener(fd);
  call = "setsockopt";
  if (!detail::set_option(fd, SOL_SOCKET, SO_REUSEADDR, options.reuse_address ? 1 : 0, ec) ||
      (options.reuse_port && !detail::set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1, ec)) ||
      (where.family() == AF_INET6 &&
       !detail::set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.only_ipv6 ? 1 : 0, ec)) ||
      (options.receive_buffer_size_bytes != 0 &&
       !detail::set_buffer_size(fd, SO_RCVBUF, options.receive_buffer_size_bytes, ec)) ||
      (options.send_buffer_size_bytes != 0 && !detail::set_buffer_size(fd, SO_SNDBUF, options.send_buffer_size_bytes, ec))) {
    return nullptr;
  }
  call = "bind";
  if (::bind(fd, where.data(), where.size()) == 0) {
    call = "listen";
    if (::listen(fd, options.backlog) == 0) {
      return socket;
    }
  }
  ec = detail::last_system_error();
  return nullptr;
}

/// Errors of the connection that was to be taken, not of the listener: man accept says to go on.
bool is_about_the_connection(std::int32_t error) {
  switch (error) {
    case -ECONNABORTED:
    case -EPROTO:
    case -ENOPROTOOPT:
    case -ENETDOWN:
    case -ENETUNREACH:
    case -EHOSTDOWN:
    case -EHOSTUNREACH:
    case -ENONET:
      return true;
    default:
      return false;
  }
}

bool is_shortage(const std::error_code& ec) {
  return ec.category() == std::system_category() && (ec.value() == EMFILE || ec.value() == ENFILE ||
                                                     ec.value() == ENOBUFS || ec.value() == ENOMEM);
}

stream_ptr accept_one(descriptor* listener, std::error_code& ec, const char* who) {
  ec.clear();
  if (listener == nullptr) {
    enter_wait();
    ec = errc::closed;
    return nullptr;
  }
  descriptor_user user(*listener, detail::use::shared, who);
  if (!user) {
    enter_wait();
    ec = errc::closed;
    return nullptr;
  }
  stream_room room;
  if (!room) {
    enter_wait();
    ec = detail::system_error_of(-ENOMEM);
    return nullptr;
  }
  std::int32_t result = 0;
  do {
    operation op(op_kind::accept, user.fd());
    op.flags = SOCK_CLOEXEC;
    result = user.perform(op);
  } while (is_about_the_connection(result) && !user.closing());
  if (result >= 0) {
    return room.make_stream(result, listener->heirs_home());
  }
  ec = user.closing() ? std::error_code(errc::closed) : detail::system_error_of(result);
  return nullptr;
}

/// Waits until the listener is ready for `events` (its end always is one), or for `patience`.
void wait_for(descriptor& listener, short events, clock::duration patience, const char* who) {
  if (descriptor_user user(listener, detail::use::shared, who); user) {
    operation op(op_kind::poll, user.fd());
    op.flags = static_cast<std::uint32_t>(events);
    (void)user.perform(op, detail::deadline_in(patience));
  }
}

stream_ptr accept_patiently(descriptor* listener, std::error_code& ec, const char* who) {
  stream_ptr stream = accept_one(listener, ec, who);
  // io_uring takes the number for the connection before it looks whether there is one, so an idle
  // listener in a process that is out of numbers fails too. Back off only when a connection waits,
  // and cost nothing until then.
  for (auto backoff = clock::duration::zero(); is_shortage(ec);
       backoff = std::clamp<clock::duration>(2 * backoff, first_backoff, last_backoff)) {
    if (backoff != clock::duration::zero()) {
      wait_for(*listener, 0, backoff, who);
    }
    wait_for(*listener, POLLIN, clock::duration::max(), who);
    stream = accept_one(listener, ec, who);
  }
  return stream;
}

}  // namespace

tcp_listener::tcp_listener(const endpoint& where, const listen_options& options) {
  std::error_code ec;
  const char* call = nullptr;
  socket_ = listen_at(where, options, ec, call);
  if (ec) {
    throw std::system_error(ec, std::string("tcp_listener: ") + call + " " + where.to_string());
  }
}

tcp_listener::tcp_listener(const endpoint& where, const listen_options& options,
                           std::error_code& ec) {
  ec.clear();
  const char* call = nullptr;
  socket_ = listen_at(where, options, ec, call);
}

tcp_listener tcp_listener::adopt(int fd) {
  tcp_listener result;
  if (fd >= 0) {
    result.socket_ = make_listener(fd);
  }
  return result;
}

tcp_stream tcp_listener::accept() {
  return tcp_stream(throwing("tcp_listener::accept", [&](std::error_code& ec) {
    return accept_one(socket_.get(), ec, "tcp_listener::accept");
  }));
}

tcp_stream tcp_listener::accept(std::error_code& ec) {
  return tcp_stream(
      coded(ec, [&] { return accept_one(socket_.get(), ec, "tcp_listener::accept"); }));
}

tcp_stream tcp_listener::accept_with_backoff() {
  return tcp_stream(throwing("tcp_listener::accept_with_backoff", [&](std::error_code& ec) {
    return accept_patiently(socket_.get(), ec, "tcp_listener::accept_with_backoff");
  }));
}

tcp_stream tcp_listener::accept_with_backoff(std::error_code& ec) {
  return tcp_stream(coded(ec, [&] {
    return accept_patiently(socket_.get(), ec, "tcp_listener::accept_with_backoff");
  }));
}

void tcp_listener::close() noexcept {
  if (socket_ != nullptr) {
    (void)socket_->close();
  }
}

bool tcp_listener::is_open() const noexcept { return socket_ != nullptr && socket_->is_open(); }

endpoint tcp_listener::local_endpoint() const {
  return throwing("tcp_listener::local_endpoint",
                  [&](std::error_code& ec) { return local_endpoint(ec); });
}

endpoint tcp_listener::local_endpoint(std::error_code& ec) const {
  return detail::name_of(socket_.get(), &::getsockname, "tcp_listener::local_endpoint", ec);
}

int tcp_listener::native_handle() const noexcept {
  return socket_ == nullptr ? -1 : socket_->number();
}

int tcp_listener::release() {
  return socket_ == nullptr ? -1 : socket_->release("tcp_listener::release");
}

}  // namespace aramid::inline v0::io
