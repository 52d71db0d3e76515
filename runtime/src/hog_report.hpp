// What runs on a worker's thread, and where it is: asked by whoever reports hogs (options::report_hogs_after) or dumps all fibers.
//
//   1. Who wants to know asks that worker's thread by a signal; one at a time.
//   2. The handler, on the alternate stack, notes the fiber that runs there and walks its frames (backtrace.hpp). It neither locks nor
//      allocates.
//   3. Who has asked has waited for that; it finds names for the addresses.
//
// The signal is SIGURG, as in Go: by default it does nothing, so one that comes too late harms nobody, and hardly any program uses it; a
// handler that was there before is called if the signal was not ours. System calls that it interrupts are restarted, but for those that never are
// (man 7 signal: poll, nanosleep, …).
#pragma once

#include <pthread.h>

#include <chrono>
#include <optional>

#include "backtrace.hpp"
#include "fiber_control.hpp"

namespace aramid::inline v0::detail {

struct running_fiber {
  fiber_id id = 0;  // 0: none runs there
  char name[fiber_control::name_bytes] = {};
  frame_list frames;
};

/// Installs the handler, once per process.
void prepare_to_ask() noexcept;

/// Steps 1 to 3. Returns: nullopt if the thread does not answer. Blocks for 50 ms at most.
[[nodiscard]] std::optional<running_fiber> ask_what_runs(pthread_t thread) noexcept;

/// Logs which fiber runs on `thread`, which is the worker `index`, and where it is. Blocks for some milliseconds at most.
void report_hog(pthread_t thread, unsigned index, std::chrono::milliseconds stood_still) noexcept;

}  // namespace aramid::inline v0::detail
