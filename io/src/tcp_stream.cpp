// tcp_stream: the public forms over stream_socket.hpp, and `connect`. Its options are in tcp_options.cpp.
#include <sys/socket.h>

#include <cerrno>
#include <string>

#include <aramid/driver.hpp>
#include <aramid/io/tcp.hpp>

#include "calls.hpp"
#include "socket_calls.hpp"
#include "stream_socket.hpp"

namespace aramid::inline v0 {

namespace detail {
namespace {

/// `call(socket)` for a stream that may be closed since for ever.
template <class Call>
auto with_socket(stream_socket* socket, std::error_code& ec, Call&& call)
    -> decltype(call(*socket)) {
  if (ARAMID_UNLIKELY(socket == nullptr)) {
    enter_wait();
    ec = io::errc::closed;
    return decltype(call(*socket))();
  }
  return call(*socket);
}

// `Buffers` is one piece of memory or several, as is `Data`.
template <class Buffers>
std::size_t read_some(stream_socket* socket, Buffers buffers, std::error_code& ec) {
  return with_socket(socket, ec, [&](stream_socket& s) {
    return receive_some(s, buffers, ec, "tcp_stream::read_some");
  });
}

template <class Buffers>
void read_exactly(stream_socket* socket, Buffers buffers, std::error_code& ec) {
  with_socket(socket, ec, [&](stream_socket& s) {
    receive_exactly(s, buffers, ec, "tcp_stream::read_exactly");
  });
}

io::received_bytes receive(stream_socket* socket, std::error_code& ec) {
  return with_socket(socket, ec, [&](stream_socket& s) { return receive_lent(s, ec, "tcp_stream::receive"); });
}

template <class Data>
std::size_t write_some(stream_socket* socket, Data data, std::error_code& ec) {
  return with_socket(socket, ec, [&](stream_socket& s) {
    return send_some(s, data, ec, "tcp_stream::write_some");
  });
}

template <class Data>
void write_all(stream_socket* socket, Data data, std::size_t& written, std::error_code& ec) {
  written = 0;
  with_socket(socket, ec,
              [&](stream_socket& s) { send_all(s, data, written, ec, "tcp_stream::write_all"); });
}

template <class Data>
void write_all_or_throw(stream_socket* socket, Data data, std::size_t& written) {
  std::error_code ec;
  write_all(socket, data, written, ec);
  if (ec) {
    throw io::write_error(ec, "tcp_stream::write_all", written);
  }
}

}  // namespace

void descriptor_delete::operator()(stream_socket* gone) const noexcept { delete gone; }
void descriptor_delete::operator()(descriptor* gone) const noexcept { delete gone; }

}  // namespace detail

namespace io {

using detail::coded;
using detail::stream_ptr;
using detail::throwing;

tcp_stream tcp_stream::adopt(int fd) {
  return fd < 0 ? tcp_stream()
                : tcp_stream(detail::make_stream(fd, detail::runtime_ref::current()));
}

std::size_t tcp_stream::read_some(std::span<std::byte> buffer) {
  return throwing("tcp_stream::read_some", [&](std::error_code& ec) {
    return detail::read_some(socket_.get(), buffer, ec);
  });
}

std::size_t tcp_stream::read_some(std::span<std::byte> buffer, std::error_code& ec) {
  return coded(ec, [&] { return detail::read_some(socket_.get(), buffer, ec); });
}

void tcp_stream::read_exactly(std::span<std::byte> buffer) {
  throwing("tcp_stream::read_exactly",
           [&](std::error_code& ec) { detail::read_exactly(socket_.get(), buffer, ec); });
}

void tcp_stream::read_exactly(std::span<std::byte> buffer, std::error_code& ec) {
  coded(ec, [&] { detail::read_exactly(socket_.get(), buffer, ec); });
}

received_bytes tcp_stream::receive() {
  return throwing("tcp_stream::receive", [&](std::error_code& ec) { return detail::receive(socket_.get(), ec); });
}

received_bytes tcp_stream::receive(std::error_code& ec) {
  return coded(ec, [&] { return detail::receive(socket_.get(), ec); });
}

std::size_t tcp_stream::write_some(std::span<const std::byte> data) {
  return throwing("tcp_stream::write_some",
                  [&](std::error_code& ec) { return detail::write_some(socket_.get(), data, ec); });
}

std::size_t tcp_stream::write_some(std::span<const std::byte> data, std::error_code& ec) {
  return coded(ec, [&] { return detail::write_some(socket_.get(), data, ec); });
}

void tcp_stream::write_all(std::span<const std::byte> data) {
  std::size_t written = 0;
  write_all(data, written);
}

void tcp_stream::write_all(std::span<const std::byte> data, std::size_t& written) {
  detail::write_all_or_throw(socket_.get(), data, written);
}

std::size_t tcp_stream::write_all(std::span<const std::byte> data, std::error_code& ec) {
  std::size_t written = 0;
  write_all(data, written, ec);
  return written;
}

void tcp_stream::write_all(std::span<const std::byte> data, std::size_t& written,
                           std::error_code& ec) {
  coded(ec, [&] { detail::write_all(socket_.get(), data, written, ec); });
}

std::size_t tcp_stream::read_some(mutable_parts buffers) {
  return throwing("tcp_stream::read_some", [&](std::error_code& ec) {
    return detail::read_some(socket_.get(), buffers, ec);
  });
}

std::size_t tcp_stream::read_some(mutable_parts buffers, std::error_code& ec) {
  return coded(ec, [&] { return detail::read_some(socket_.get(), buffers, ec); });
}

void tcp_stream::read_exactly(mutable_parts buffers) {
  throwing("tcp_stream::read_exactly",
           [&](std::error_code& ec) { detail::read_exactly(socket_.get(), buffers, ec); });
}

void tcp_stream::read_exactly(mutable_parts buffers, std::error_code& ec) {
  coded(ec, [&] { detail::read_exactly(socket_.get(), buffers, ec); });
}

std::size_t tcp_stream::write_some(const_parts data) {
  return throwing("tcp_stream::write_some",
                  [&](std::error_code& ec) { return detail::write_some(socket_.get(), data, ec); });
}

std::size_t tcp_stream::write_some(const_parts data, std::error_code& ec) {
  return coded(ec, [&] { return detail::write_some(socket_.get(), data, ec); });
}

void tcp_stream::write_all(const_parts data) {
  std::size_t written = 0;
  write_all(data, written);
}

void tcp_stream::write_all(const_parts data, std::size_t& written) {
  detail::write_all_or_throw(socket_.get(), data, written);
}

std::size_t tcp_stream::write_all(const_parts data, std::error_code& ec) {
  std::size_t written = 0;
  write_all(data, written, ec);
  return written;
}

void tcp_stream::write_all(const_parts data, std::size_t& written, std::error_code& ec) {
  coded(ec, [&] { detail::write_all(socket_.get(), data, written, ec); });
}

void tcp_stream::shutdown(shutdown_how how) {
  throwing("tcp_stream::shutdown", [&](std::error_code& ec) { shutdown(how, ec); });
}

void tcp_stream::shutdown(shutdown_how how, std::error_code& ec) {
  const int native = how == shutdown_how::read    ? SHUT_RD
                     : how == shutdown_how::write ? SHUT_WR
                                                  : SHUT_RDWR;
  detail::quick_call(detail::handle_of(socket_.get()), "tcp_stream::shutdown", ec, [&](int fd) {
    if (::shutdown(fd, native) != 0) {
      ec = detail::last_system_error();
    }
  });
}

void tcp_stream::close() noexcept {
  if (socket_ != nullptr) {
    (void)socket_->handle.close();
  }
}

bool tcp_stream::is_open() const noexcept {
  return socket_ != nullptr && socket_->handle.is_open();
}

endpoint tcp_stream::local_endpoint() const {
  return throwing("tcp_stream::local_endpoint",
                  [&](std::error_code& ec) { return local_endpoint(ec); });
}

endpoint tcp_stream::local_endpoint(std::error_code& ec) const {
  return detail::name_of(detail::handle_of(socket_.get()), &::getsockname,
                         "tcp_stream::local_endpoint", ec);
}

endpoint tcp_stream::remote_endpoint() const {
  return throwing("tcp_stream::remote_endpoint",
                  [&](std::error_code& ec) { return remote_endpoint(ec); });
}

endpoint tcp_stream::remote_endpoint(std::error_code& ec) const {
  return detail::name_of(detail::handle_of(socket_.get()), &::getpeername,
                         "tcp_stream::remote_endpoint", ec);
}

int tcp_stream::native_handle() const noexcept {
  return socket_ == nullptr ? -1 : socket_->handle.number();
}

int tcp_stream::release() {
  return socket_ == nullptr ? -1 : socket_->handle.release("tcp_stream::release");
}

namespace {

stream_ptr connect_socket(const endpoint& peer, std::error_code& ec) {
  enter_wait();
  if (peer.family() == AF_UNSPEC) {
    ec = std::make_error_code(std::errc::address_family_not_supported);
    return nullptr;
  }
  const int fd = detail::make_stream_socket(peer.family(), ec);
  if (fd < 0) {
    return nullptr;
  }
  stream_ptr socket = detail::make_stream(fd, detail::runtime_ref::current());
  std::int32_t result = 0;
  {
    detail::descriptor_user user(socket->handle, detail::use::shared, "connect");
    detail::operation op(detail::op_kind::connect, fd);
    op.address = const_cast<sockaddr*>(peer.data());
    op.length = peer.size();
    result = user.perform(op);
  }
  // Asked again after an interruption, the kernel says that it is done already.
  if (result < 0 && result != -EISCONN) {
    ec = detail::system_error_of(result);
    return nullptr;
  }
  return socket;
}

}  // namespace

tcp_stream connect(const endpoint& peer) {
  std::error_code ec;
  tcp_stream stream(connect_socket(peer, ec));
  if (ec) {
    throw std::system_error(ec, "connect " + peer.to_string());
  }
  return stream;
}

tcp_stream connect(const endpoint& peer, std::error_code& ec) {
  return tcp_stream(coded(ec, [&] { return connect_socket(peer, ec); }));
}

}  // namespace io
}  // namespace aramid::inline v0
