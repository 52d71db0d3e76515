// Who keeps a worker's thread to itself, and where: what the watchdog logs if options::report_hogs_after asks for it.
//
//   1. The watchdog, having found that a worker has stood still for too long, asks that worker's thread by a signal.
//   2. The handler, on the alternate stack, notes the fiber that runs there and walks its frames by their frame pointers, as far as
//      they stay within its stack. It neither locks nor allocates.
//   3. The watchdog, which has waited for that, finds names for the addresses and logs.
//
// The signal is SIGURG, as in Go: by default it does nothing, so one that comes too late harms nobody, and hardly any program uses it; a
// handler that was there before is called if the signal was not ours. System calls that it interrupts are restarted.
// Frames of code built without frame pointers end the walk or are missing; names of functions that the program does not export
// (-rdynamic) are given as an offset, which addr2line reads.
#pragma once

#include <pthread.h>

#include <chrono>

namespace aramid::inline v0::detail {

/// Installs the handler, once per process.
void prepare_hog_reports() noexcept;

/// Logs which fiber runs on `thread`, which is the worker `index`, and where it is. Blocks for some milliseconds at most.
void report_hog(pthread_t thread, unsigned index, std::chrono::milliseconds stood_still) noexcept;

}  // namespace aramid::inline v0::detail
