#include "socket_calls.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <limits>

#include "calls.hpp"

namespace aramid::inline v0::detail {

int make_stream_socket(int family, std::error_code& ec) noexcept {
  const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    ec = last_system_error();
  }
  return fd;
}

bool set_option(int fd, int level, int option, int value, std::error_code& ec) noexcept {
  if (::setsockopt(fd, level, option, &value, sizeof value) != 0) {
    ec = last_system_error();
    return false;
  }
  return true;
}

int get_option(int fd, int level, int option, std::error_code& ec) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(fd, level, option, &value, &size) != 0) {
    ec = last_system_error();
    return 0;
  }
  return value;
}

bool set_buffer_size(int fd, int option, std::size_t bytes, std::error_code& ec) noexcept {
  // The kernel's limit lies below that: more is asked for all the same.
  constexpr std::size_t most = std::numeric_limits<int>::max();
  return set_option(fd, SOL_SOCKET, option, static_cast<int>(std::min(bytes, most)), ec);
}

io::endpoint name_of(descriptor* d, int (*call)(int, sockaddr*, socklen_t*), const char* who,
                     std::error_code& ec) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  quick_call(d, who, ec, [&](int fd) {
    if (call(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      ec = last_system_error();
    }
  });
  if (ec) {
    return {};
  }
  if (address.ss_family != AF_INET && address.ss_family != AF_INET6) {
    ec = std::make_error_code(std::errc::address_family_not_supported);
    return {};
  }
  return io::endpoint::from_native(reinterpret_cast<const sockaddr*>(&address), size);
}

}  // namespace aramid::inline v0::detail
