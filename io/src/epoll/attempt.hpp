// An operation as a system call that does not wait. The descriptor's own O_NONBLOCK is left alone where a call has a flag of its own for
// that (MSG_DONTWAIT, RWF_NOWAIT): the description may be shared with others, stdin's is with the shell.
#pragma once

#include <cstdint>

#include "../operation.hpp"

namespace aramid::inline v0::detail {

struct registration;

/// Returns: the call's result or -errno; -EAGAIN if it would have to wait; readiness_driver::needs_thread.
[[nodiscard]] std::int32_t attempt(operation& op, registration& of) noexcept;

}  // namespace aramid::inline v0::detail
