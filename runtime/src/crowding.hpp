// Whether the workers get the CPUs that they ask for, and what to do if not.
//
// To have two workers awake is worth while if they run at the same time. Where others want the CPUs too (the clients of a server on
// the same machine, the neighbours of a container, more workers than CPUs), a second worker takes a CPU from the first, or
// from the client that both wait for; and each is told of half as many completions at a time. An echo server on two CPUs, one of which
// its load needs, paid up to 1.9 × the CPU time per request for it, and raw epoll loops pay up to 1.2 × (runtime/README.md): what helps is not to
// share the work better, but not to share it.
//
// So while the runtime is *crowded* woken fibers stay together (worker_crowded.cpp), until they would wait for longer than `patience`.
//
//   1. The kernel counts for each thread for how long it ran and for how long it was ready to run and did not (run_delay.hpp). The watchdog
//      adds up both of all workers over a window.
//   2. More than a quarter of the time waited, and they wanted at least half of one CPU: crowded, for `shortest` windows. For how long they
//      wait then says nothing: with one worker awake nobody may be in its way.
//   3. Then one window with the work shared again. If it is crowded too, for twice as long as before, up to `longest`; else that is that.
//   4. Not where *heavy* fibers take more than a quarter of the time, those that compute while others only serve I/O (pace.hpp); if it has grown
//      to more than a third, it ends. What waits behind one that computes for a millisecond is better off elsewhere, even if both get less of a CPU;
//      but if few do, it costs less to wait for them than to share. A mean over about four windows: a load of a sixth must not
//      look like one of a third by chance.
//
// So a machine that stays crowded pays for one window in a hundred; and what changes is found after 1.5 s at most, or if it is fibers that
// have become heavy within a few windows.
#pragma once

#include <algorithm>
#include <chrono>
#include <utility>

#include "run_delay.hpp"

namespace aramid::inline v0::detail {

/// The rule, without clock and kernel. Not thread-safe.
class crowding {
public:
  static constexpr std::chrono::milliseconds window{16};
  static constexpr unsigned shortest = 6;
  static constexpr unsigned longest = 96;

  /// For how long a woken fiber may wait for its worker in a crowd before a peer is woken for it: about as long as the kernel lets one
  /// thread run before another that waits for the CPU (EEVDF's base slice, 2.8 ms on two CPUs).
  static constexpr std::chrono::milliseconds patience{4};

  /// A window is over in which the workers did `all`, `heavy` of what they ran in heavy fibers.
  /// Returns: whether they are crowded from now on.
  bool note(const cpu_times& all, std::chrono::nanoseconds heavy) noexcept {
    ran_ = ran_ * 3 / 4 + all.ran;
    heavy_ = heavy_ * 3 / 4 + heavy;
    if (3 * heavy_ > ran_) {
      left_ = last_ = 0;
      return crowded_ = false;
    }
    if (left_ != 0 && --left_ != 0) {
      return crowded_;
    }
    if (std::exchange(crowded_, false)) {
      return false;  // the probe
    }
    if (all.ran + all.waited < window / 2) {
      return false;  // too little to say; a probe is over all the same
    }
    if (3 * all.waited <= all.ran || 4 * heavy_ > ran_) {
      last_ = 0;
      return false;
    }
    last_ = last_ == 0 ? shortest : std::min(2 * last_, longest);
    left_ = last_;
    return crowded_ = true;
  }

private:
  bool crowded_ = false;
  unsigned left_ = 0;  // windows for which it stays as it is
  unsigned last_ = 0;  // for how many it was crowded the last time; 0 if not any more
  std::chrono::nanoseconds ran_{0};  // this and the next: sums that lose a quarter with each window
  std::chrono::nanoseconds heavy_{0};
};

}  // namespace aramid::inline v0::detail
