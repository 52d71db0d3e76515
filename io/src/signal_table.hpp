// The process's signal handlers, and who waits for what. A signal goes this way:
//
//   1. The handler, on whatever thread the kernel chose, counts itself in, looks at every slot of
//      the table, sets its bit in `pending` of each watch that wants it, and writes that watch's
//      eventfd. Then it counts itself out.
//   2. The fiber that waits polls the eventfd, empties it, and only then looks at `pending`. So a
//      bit that is set after that look is followed by a write after the emptying: no signal is lost
//      between the two.
//
// The handler takes no lock and calls nothing but write(2) (man signal-safety). A watch leaves by
// clearing its slot and then waiting until no handler is counted in: a handler that comes later
// does not find it.
//
// Rejected: signalfd, for which every thread of the process must block the signal, threads of other
// libraries included (DESIGN §3). The eventfd as the only record: it is shared with a forked child,
// `pending` is not.
#pragma once

#include <atomic>
#include <cstdint>

#include "descriptor.hpp"

namespace aramid::inline v0::detail {

struct signal_watch {
  signal_watch(int eventfd, std::uint64_t signals) noexcept
      : handle(eventfd, descriptor::kind::event, runtime_ref::current()), wanted(signals) {}

  descriptor handle;
  const std::uint64_t wanted;             // bit n - 1 for signal n
  std::atomic<std::uint64_t> pending{0};  // the handler sets, the waiter clears

  /// Takes the lowest. Returns: 0 if there is none.
  int take() noexcept;
};

/// Enters `watch` and takes over its signals.
/// Returns: false if the table is full.
[[nodiscard]] bool enter_signal_table(signal_watch& watch) noexcept;

/// Undoes it. Threads: any; waits for handlers that run.
void leave_signal_table(signal_watch& watch) noexcept;

}  // namespace aramid::inline v0::detail
