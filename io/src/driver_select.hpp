// Which driver a runtime gets. A runtime asks once, at its first I/O; all of its workers get the
// same kind.
#pragma once

#include "io_driver.hpp"

namespace aramid::inline v0::detail {

/// The driver of the worker that the caller is on; the runtime's first call makes all of them.
/// Suspends: never, and the result is good until the caller's next suspension only.
/// Returns:  nullptr if the caller is not a fiber.
/// Throws:   std::system_error that says which kernel call was refused and what to do about it;
///           std::invalid_argument if ARAMID_DRIVER names no driver.
[[nodiscard]] io_driver* current_io_driver();

}  // namespace aramid::inline v0::detail
