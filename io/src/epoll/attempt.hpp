// An operation as a system call that does not wait. The descriptor's own O_NONBLOCK is left alone where a call has a flag of its own for
// that (MSG_DONTWAIT, RWF_NOWAIT): the description may be shared with others, stdin's is with the shell.
#pragma once

#include <cstdint>

#include "../operation.hpp"

namespace aramid::inline v0::detail {

struct registration;

/// poll(2) that does not wait. Returns: the events that are there, 0 if none is, or -errno.
[[nodiscard]] std::int32_t poll_now(int fd, std::uint32_t events) noexcept;

/// Returns: the call's result or -errno; -EAGAIN if it would have to wait; readiness_driver::needs_thread.
[[nodiscard]] std::int32_t attempt(operation& op, registration& of) noexcept;

}  // namespace aramid::inline v0::detail
