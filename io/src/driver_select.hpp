// Which drivers a runtime gets. It asks once, at its first I/O; all of its workers get the same kind.
//
//   wanted               what is made
//   "io_uring", "epoll"  that, or the error that says why not
//   "fake"               one for tests, which does what a kernel may do and hardly ever does (fake/fake_driver.hpp)
//   ""                   io_uring; if the kernel refuses a single ring, whatever its reason, epoll for all workers, and a line in the log
//
// The environment variable ARAMID_DRIVER, read once a process, stands for what the runtime's options want.
#pragma once

#include "io_driver.hpp"

namespace aramid::inline v0::detail {

/// The driver of the worker that the caller is on; the runtime's first call makes all of them.
/// Suspends: never, and the result is good until the caller's next suspension only.
/// Returns:  nullptr if the caller is not a fiber.
/// Throws:   std::system_error that says which kernel call was refused and what to do about it;
///           std::invalid_argument if what is wanted names no driver.
[[nodiscard]] io_driver* current_io_driver();

/// `enter_wait`, then that.
[[nodiscard]] io_driver* enter_io();

}  // namespace aramid::inline v0::detail
