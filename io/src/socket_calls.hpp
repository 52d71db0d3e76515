// The calls on sockets that never wait, so no operation is needed for them.
#pragma once

#include <system_error>

#include <aramid/io/endpoint.hpp>

#include "descriptor.hpp"

namespace aramid::inline v0::detail {

/// A new stream socket for `family`: close-on-exec and blocking. Returns: -1 and `ec`.
int make_stream_socket(int family, std::error_code& ec) noexcept;

/// setsockopt for an int. Returns: whether it worked; if not, `ec` is set.
bool set_option(int fd, int level, int option, int value, std::error_code& ec) noexcept;

/// getsockname or getpeername of a descriptor that may be null or closed.
io::endpoint name_of(descriptor* d, int (*call)(int, sockaddr*, socklen_t*), const char* who,
                     std::error_code& ec);

}  // namespace aramid::inline v0::detail
