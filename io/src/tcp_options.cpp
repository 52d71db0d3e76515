// tcp_stream's options: setsockopt and getsockopt, each in its two forms.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <string>

#include <aramid/io/tcp.hpp>

#include "calls.hpp"
#include "socket_calls.hpp"
#include "stream_socket.hpp"

namespace aramid::inline v0::io {

using detail::handle_of;
using detail::quick_call;
using detail::throwing;

namespace {

using std::chrono::seconds;

// What the kernel accepts (MAX_TCP_KEEPIDLE and its kin in its net/tcp.h). Checked here, because three calls one after
// another would leave the first one's change behind when the last one fails.
constexpr seconds longest_idle{32767};
constexpr seconds longest_interval{32767};
constexpr int most_probes = 127;

/// Returns: what is wrong with `times`; null if nothing is.
const char* objection_to(const keep_alive_times& times) noexcept {
  if (times.idle < seconds::zero() || times.idle > longest_idle) {
    return "idle is not within 0 to 32767 s";
  }
  if (times.interval < seconds::zero() || times.interval > longest_interval) {
    return "interval is not within 0 to 32767 s";
  }
  if (times.count < 0 || times.count > most_probes) {
    return "count is not within 0 to 127";
  }
  return nullptr;
}

bool set_time(int fd, int option, seconds time, std::error_code& ec) noexcept {
  return time == seconds::zero() ||
         detail::set_option(fd, IPPROTO_TCP, option, static_cast<int>(time.count()), ec);
}

/// Switched on last, and off first: so it never runs on times that are half the old and half the new.
void set_keep_alive(int fd, bool on, const keep_alive_times& times, std::error_code& ec) noexcept {
  if (on) {
    const bool timed = set_time(fd, TCP_KEEPIDLE, times.idle, ec) &&
                       set_time(fd, TCP_KEEPINTVL, times.interval, ec) &&
                       (times.count == 0 ||
                        detail::set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, times.count, ec));
    if (!timed) {
      return;
    }
  }
  detail::set_option(fd, SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0, ec);
}

std::optional<keep_alive_times> keep_alive_of(int fd, std::error_code& ec) noexcept {
  if (detail::get_option(fd, SOL_SOCKET, SO_KEEPALIVE, ec) == 0) {
    return std::nullopt;
  }
  keep_alive_times times;
  times.idle = seconds(detail::get_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, ec));
  times.interval = seconds(detail::get_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, ec));
  times.count = detail::get_option(fd, IPPROTO_TCP, TCP_KEEPCNT, ec);
  return ec ? std::nullopt : std::optional(times);
}

/// The result of a getter, which is the default unless it was reached.
template <class Value, class Get>
Value asked(detail::descriptor* d, const char* who, std::error_code& ec, Get get) {
  Value value{};
  quick_call(d, who, ec, [&](int fd) { value = get(fd); });
  return value;
}

}  // namespace

void tcp_stream::no_delay(bool on) {
  throwing("tcp_stream::no_delay", [&](std::error_code& ec) { no_delay(on, ec); });
}

void tcp_stream::no_delay(bool on, std::error_code& ec) {
  quick_call(handle_of(socket_.get()), "tcp_stream::no_delay", ec,
             [&](int fd) { detail::set_option(fd, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0, ec); });
}

bool tcp_stream::no_delay() const {
  return throwing("tcp_stream::no_delay", [&](std::error_code& ec) { return no_delay(ec); });
}

bool tcp_stream::no_delay(std::error_code& ec) const {
  return asked<bool>(handle_of(socket_.get()), "tcp_stream::no_delay", ec, [&](int fd) {
    return detail::get_option(fd, IPPROTO_TCP, TCP_NODELAY, ec) != 0;
  });
}

void tcp_stream::keep_alive(bool on, const keep_alive_times& times) {
  if (const char* const objection = objection_to(times); on && objection != nullptr) {
    throw std::invalid_argument(std::string("tcp_stream::keep_alive: ") + objection);
  }
  throwing("tcp_stream::keep_alive", [&](std::error_code& ec) { keep_alive(on, times, ec); });
}

void tcp_stream::keep_alive(bool on, const keep_alive_times& times, std::error_code& ec) {
  if (on && objection_to(times) != nullptr) {
    ec = std::make_error_code(std::errc::invalid_argument);
    return;
  }
  quick_call(handle_of(socket_.get()), "tcp_stream::keep_alive", ec,
             [&](int fd) { set_keep_alive(fd, on, times, ec); });
}

std::optional<keep_alive_times> tcp_stream::keep_alive() const {
  return throwing("tcp_stream::keep_alive", [&](std::error_code& ec) { return keep_alive(ec); });
}

std::optional<keep_alive_times> tcp_stream::keep_alive(std::error_code& ec) const {
  return asked<std::optional<keep_alive_times>>(handle_of(socket_.get()), "tcp_stream::keep_alive", ec,
                                                [&](int fd) { return keep_alive_of(fd, ec); });
}

void tcp_stream::receive_buffer_size(std::size_t bytes) {
  throwing("tcp_stream::receive_buffer_size", [&](std::error_code& ec) { receive_buffer_size(bytes, ec); });
}

void tcp_stream::receive_buffer_size(std::size_t bytes, std::error_code& ec) {
  quick_call(handle_of(socket_.get()), "tcp_stream::receive_buffer_size", ec,
             [&](int fd) { detail::set_buffer_size(fd, SO_RCVBUF, bytes, ec); });
}

std::size_t tcp_stream::receive_buffer_size() const {
  return throwing("tcp_stream::receive_buffer_size", [&](std::error_code& ec) { return receive_buffer_size(ec); });
}

std::size_t tcp_stream::receive_buffer_size(std::error_code& ec) const {
  return asked<std::size_t>(handle_of(socket_.get()), "tcp_stream::receive_buffer_size", ec, [&](int fd) {
    return static_cast<std::size_t>(detail::get_option(fd, SOL_SOCKET, SO_RCVBUF, ec));
  });
}

void tcp_stream::send_buffer_size(std::size_t bytes) {
  throwing("tcp_stream::send_buffer_size", [&](std::error_code& ec) { send_buffer_size(bytes, ec); });
}

void tcp_stream::send_buffer_size(std::size_t bytes, std::error_code& ec) {
  quick_call(handle_of(socket_.get()), "tcp_stream::send_buffer_size", ec,
             [&](int fd) { detail::set_buffer_size(fd, SO_SNDBUF, bytes, ec); });
}

std::size_t tcp_stream::send_buffer_size() const {
  return throwing("tcp_stream::send_buffer_size", [&](std::error_code& ec) { return send_buffer_size(ec); });
}

std::size_t tcp_stream::send_buffer_size(std::error_code& ec) const {
  return asked<std::size_t>(handle_of(socket_.get()), "tcp_stream::send_buffer_size", ec, [&](int fd) {
    return static_cast<std::size_t>(detail::get_option(fd, SOL_SOCKET, SO_SNDBUF, ec));
  });
}

void tcp_stream::linger(std::optional<seconds> time) {
  if (time && *time < seconds::zero()) {
    throw std::invalid_argument("tcp_stream::linger: time is negative");
  }
  throwing("tcp_stream::linger", [&](std::error_code& ec) { linger(time, ec); });
}

void tcp_stream::linger(std::optional<seconds> time, std::error_code& ec) {
  if (time && *time < seconds::zero()) {
    ec = std::make_error_code(std::errc::invalid_argument);
    return;
  }
  quick_call(handle_of(socket_.get()), "tcp_stream::linger", ec, [&](int fd) {
    constexpr seconds longest(std::numeric_limits<int>::max());
    const struct ::linger native{time ? 1 : 0, static_cast<int>(std::min(time.value_or(seconds::zero()), longest).count())};
    if (::setsockopt(fd, SOL_SOCKET, SO_LINGER, &native, sizeof native) != 0) {
      ec = detail::last_system_error();
    }
  });
}

std::optional<seconds> tcp_stream::linger() const {
  return throwing("tcp_stream::linger", [&](std::error_code& ec) { return linger(ec); });
}

std::optional<seconds> tcp_stream::linger(std::error_code& ec) const {
  return asked<std::optional<seconds>>(handle_of(socket_.get()), "tcp_stream::linger", ec, [&](int fd) {
    struct ::linger native {};
    socklen_t size = sizeof native;
    if (::getsockopt(fd, SOL_SOCKET, SO_LINGER, &native, &size) != 0) {
      ec = detail::last_system_error();
    }
    return native.l_onoff != 0 ? std::optional(seconds(native.l_linger)) : std::nullopt;
  });
}

}  // namespace aramid::inline v0::io
