#include "socket_calls.hpp"

#include <sys/socket.h>

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

io::endpoint name_of(descriptor* d, int (*call)(int, sockaddr*, socklen_t*), const char* who,
                     std::error_code& ec) {
  ec.clear();
  if (d == nullptr) {
    ec = io::errc::closed;
    return {};
  }
  const descriptor_user user(*d, use::shared, who);
  if (!user) {
    ec = io::errc::closed;
    return {};
  }
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (call(user.fd(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    ec = last_system_error();
    return {};
  }
  if (address.ss_family != AF_INET && address.ss_family != AF_INET6) {
    ec = std::make_error_code(std::errc::address_family_not_supported);
    return {};
  }
  return io::endpoint::from_native(reinterpret_cast<const sockaddr*>(&address), size);
}

}  // namespace aramid::inline v0::detail
