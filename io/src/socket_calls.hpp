// The calls on sockets that never wait, so no operation is needed for them.
#pragma once

#include <cstddef>
#include <system_error>

#include <aramid/io/endpoint.hpp>
#include <aramid/io/error.hpp>

#include "descriptor.hpp"

namespace aramid::inline v0::detail {

/// A new stream socket for `family`: close-on-exec and blocking. Returns: -1 and `ec`.
int make_stream_socket(int family, std::error_code& ec) noexcept;

/// A call that never waits, while nobody can close the descriptor, which may be null: `call(fd)`, or `ec` is errc::closed.
template <class Call>
void quick_call(descriptor* d, const char* who, std::error_code& ec, Call&& call) {
  ec.clear();
  if (d != nullptr) {
    if (const descriptor_user user(*d, use::shared, who); user) {
      call(user.fd());
      return;
    }
  }
  ec = io::errc::closed;
}

/// setsockopt for an int. Returns: whether it worked; if not, `ec` is set.
bool set_option(int fd, int level, int option, int value, std::error_code& ec) noexcept;

/// getsockopt for an int. Returns: its value; 0 and `ec` if that failed.
int get_option(int fd, int level, int option, std::error_code& ec) noexcept;

/// SO_RCVBUF or SO_SNDBUF. Returns: as set_option.
bool set_buffer_size(int fd, int option, std::size_t bytes, std::error_code& ec) noexcept;

/// getsockname or getpeername of a descriptor that may be null or closed.
io::endpoint name_of(descriptor* d, int (*call)(int, sockaddr*, socklen_t*), const char* who,
                     std::error_code& ec);

}  // namespace aramid::inline v0::detail
