// The one way in which sockets and files have the kernel do something: fill an operation, `perform`
// it.
#pragma once

#include <cstdint>

#include <aramid/detail/runtime_ref.hpp>
#include <aramid/park.hpp>

#include "operation.hpp"

namespace aramid::inline v0::detail {

/// Has the kernel do `op` and waits for it, by the protocol of operation.hpp. A caller that is no
/// fiber has a worker of `home` do it. Descriptors of ours are blocking; one that was adopted may be
/// O_NONBLOCK, and is waited for all the same, if `op` has a user.
/// Suspends: until the operation is done, `deadline`, or a cancellation.
/// Cancels:  throws aramid::cancelled; the kernel then no longer holds anything of `op`, and has
///           done nothing of it.
/// Returns:  the system call's result, >= 0 or -errno, never -EINTR, nor -EAGAIN if it has a user; -ETIME if `deadline` came
///           first; -ECANCELED if the descriptor was closed meanwhile.
/// Throws:   std::system_error if the runtime cannot make its drivers; std::logic_error, naming
///           `who`, if the caller is no fiber and `home` names no running runtime.
std::int32_t perform(operation& op, const runtime_ref& home, const char* who,
                     time_point deadline = time_point::max());

/// As `perform`, for close and destructors: nothing cancels it, and it throws nothing. Only for a
/// fiber.
/// Returns: as `perform`; -ENOTSUP if the caller is no fiber or there is no driver.
std::int32_t perform_shielded(operation& op) noexcept;

}  // namespace aramid::inline v0::detail
