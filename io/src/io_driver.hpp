// What a driver is to sockets and files: the scheduler's `driver` (aramid/driver.hpp) plus these
// two calls. Every driver that aramid::io makes is an `io_driver`; perform.cpp is their only
// caller.
#pragma once

#include <cstdint>

#include <aramid/driver.hpp>

#include "operation.hpp"

namespace aramid::inline v0::detail {

/// Where a call to a driver comes from.
enum class caller : std::uint8_t {
  owner,  ///< the worker whose driver it is
  peer,   ///< another worker of the same runtime
};

class io_driver : public driver {
public:
  /// Takes `op` on: sets its home and ticket, and from here on finishes it exactly once. That may
  /// happen before the return, if the operation cannot even be queued; its result then says why.
  /// Suspends: never. Threads: the owner.
  virtual void submit(operation& op) noexcept = 0;

  /// Asks for the early end of an operation that this driver has taken on. It may miss, and may be
  /// asked again; the operation finishes with its own result in any case. `op` must not be done
  /// when the call begins (it may become so during the call, and its fiber is the caller, so it
  /// stays readable).
  /// Suspends: never. Threads: any worker of the runtime.
  virtual void cancel(const operation& op, caller from) noexcept = 0;
};

}  // namespace aramid::inline v0::detail
