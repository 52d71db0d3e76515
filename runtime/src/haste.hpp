// Whether the driver shall tell the kernel at once of what fibers prepare (driver::hurry). An answer that waits for the rest of a batch waits for
// a fiber that computes for a millisecond behind its own; but a call for each costs a worker that has much to do a part of its throughput.
// So over a window:
//
//   1. Heavy fibers (pace.hpp) have taken more than a hundredth of it: else there is nothing to wait for.
//   2. The worker has slept at least once in eight switches: it has time. One that has not does not hurry; then more at a time is worth more.
//
// A worker of an echo server under stalls (io/README.md) left its CPU, most often to sleep, 0.4 to 1.1 times a request where one came now and then, and 0.01
// to 0.07 times where its clients kept all CPUs busy. A request is two switches.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

/// The rule, without clock and kernel. Not thread-safe.
class haste {
public:
  static constexpr std::chrono::milliseconds window{200};
  static constexpr int heavy_from_one_in = 100;  // of the time
  static constexpr std::uint64_t switches_a_sleep = 8;

  /// What heavy fibers have taken by now, and how often the worker has switched and slept; all since the beginning.
  /// Returns: whether to hurry from now on; nullopt if the window is not over.
  std::optional<bool> note(time_point now, std::chrono::nanoseconds heavy, std::uint64_t switches, std::uint64_t sleeps) noexcept {
    const std::chrono::nanoseconds past = now - last_.now;
    if (past < window) {
      return std::nullopt;
    }
    const bool computes = heavy_from_one_in * (heavy - last_.heavy) > past;
    const bool has_time = switches_a_sleep * (sleeps - last_.sleeps) >= switches - last_.switches;
    last_ = {now, heavy, switches, sleeps};
    return computes && has_time;
  }

private:
  struct {
    time_point now{};
    std::chrono::nanoseconds heavy{0};
    std::uint64_t switches = 0;
    std::uint64_t sleeps = 0;
  } last_;
};

}  // namespace aramid::inline v0::detail
