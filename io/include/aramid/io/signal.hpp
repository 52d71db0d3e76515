// Signals as something to wait for.
//
//     signal_set stop{SIGINT, SIGTERM};
//     int which = stop.wait();          // in a fiber: only it waits
//
// While a set lives, its signals do nothing but wake it: the process is not ended by them. When the
// last set that has a signal is gone, what the signal did before is restored.
#pragma once

#include <initializer_list>
#include <memory>
#include <span>
#include <system_error>

#include <aramid/detail/config.hpp>
#include <aramid/io/error.hpp>

namespace aramid::inline v0 {

namespace detail {
struct signal_watch;
struct signal_watch_delete {
  ARAMID_API void operator()(signal_watch* gone) const noexcept;
};
}  // namespace detail

namespace io {

/// Several sets may have the same signal: each of them gets it. A signal that comes again before it
/// has been waited for counts once, as signals do. Moves, does not copy.
/// Threads: one waiter at a time; the signals themselves may come to any thread.
class ARAMID_API signal_set {
public:
  /// From here on the signals are this set's.
  /// Suspends: never. Needs no runtime, but plain threads can `wait` only for a set made in one.
  /// Throws:   std::invalid_argument naming a number that is no signal, or one that cannot be
  ///           waited for (SIGKILL, SIGSTOP, and SIGSEGV, SIGBUS, SIGFPE, SIGILL, whose handlers
  ///           must not return); std::system_error (too_many_files_open, or
  ///           resource_unavailable_try_again when there are 64 sets already).
  signal_set(std::initializer_list<int> signals)
      : signal_set(std::span(signals.begin(), signals.size())) {}
  explicit signal_set(std::span<const int> signals);

  signal_set(signal_set&&) noexcept = default;
  signal_set& operator=(signal_set&&) noexcept = default;

  /// Signals that came and were not waited for are forgotten.
  ~signal_set() = default;

  /// Waits for one of the signals.
  /// Suspends: until one comes, unless one has come since the set was made or last waited for.
  /// Cancels:  throws aramid::cancelled; a signal that came is still there for the next call.
  /// Returns:  its number. Of several the lowest.
  /// Throws:   std::system_error; std::logic_error if somebody waits already, or the set was moved
  ///           from.
  int wait();
  int wait(std::error_code& ec);

  /// Returns: the number of a signal that has come, or 0. Suspends: never.
  [[nodiscard]] int try_wait() noexcept;

private:
  std::unique_ptr<detail::signal_watch, detail::signal_watch_delete> watch_;
};

}  // namespace io
}  // namespace aramid::inline v0
