// Who may take from a worker's queues: their owner, who does so at every switch, or one of its peers, who does so when it has
// run out of work. A lock that is biased to the owner: its side is two plain stores and a load, without any
// read-modify-write or fence (4.7 ns each here, as much as a whole switch); the thief pays, with a heavy fence.
//
//   owner   1. owner_ = true
//           2. light fence                                                (pairs with 5)
//           3. looks at thief_; if it is set: owner_ = false, waits until it is clear, begins again
//           …  takes, then owner_ = false (release)
//   thief   4. thief_: false → true, or gives up: another thief is there
//           5. heavy fence                                                (pairs with 2)
//           6. looks at owner_ until it is clear, or gives up after a while: its thread may have lost its CPU
//           …  takes, then thief_ = false (release)
//
// Of 1 (store) … 3 (load) and 4 (store) … 6 (load), with the fences between, at least one load sees the other's store: they are never
// both inside. Both let go with release and look with acquire, so what one has done happens before what the other does.
//
// The owner's wait is for a few dozen instructions of the thief and its fence; a thief that loses its CPU in there is waited for
// with sched_yield.
//
// Rejected: queues that owner and thieves take from by CAS (Chase and Lev's deque, and a ring with one CAS per pop): one or two
// read-modify-writes for each switch. They were here before; runtime/README.md has the figures. An optimistic owner that takes first
// and then looks whether a thief has come: it saves one store and needs a protocol for taking back, in every queue.
#pragma once

#include <atomic>

#include <aramid/detail/config.hpp>

#include "asymmetric_fence.hpp"

namespace aramid::inline v0::detail {

template <class Atomics = asymmetric_atomics>
class steal_lock {
public:
  /// Owner.
  void enter() noexcept {
    owner_.store(true, std::memory_order_relaxed);
    Atomics::light_fence();
    // acquire: pairs with exit.
    while (ARAMID_UNLIKELY(thief_.load(std::memory_order_acquire))) {
      wait_for_thief();
    }
  }
  void leave() noexcept { owner_.store(false, std::memory_order_release); }

  /// Any peer. If it returns true `exit` must follow soon.
  bool try_enter() noexcept {
    if (thief_.load(std::memory_order_relaxed) ||
        thief_.exchange(true, std::memory_order_relaxed)) {
      return false;
    }
    Atomics::heavy_fence();  // also acquires what the thief before has done
    for (int i = 0; i != Atomics::patience; ++i) {
      // acquire: pairs with leave.
      if (!owner_.load(std::memory_order_acquire)) {
        return true;
      }
      Atomics::pause();
    }
    exit();
    return false;
  }
  void exit() noexcept { thief_.store(false, std::memory_order_release); }

private:
  __attribute__((noinline)) void wait_for_thief() noexcept {
    // release, as in leave: this was no visit, but a later look of the thief may read it.
    owner_.store(false, std::memory_order_release);
    for (int i = 0; thief_.load(std::memory_order_relaxed); ++i) {
      i < Atomics::patience ? Atomics::pause() : Atomics::yield();
    }
    owner_.store(true, std::memory_order_relaxed);
    Atomics::light_fence();
  }

  typename Atomics::template atomic<bool> owner_{false};              // written by the owner
  alignas(64) typename Atomics::template atomic<bool> thief_{false};  // written by whoever steals
};

}  // namespace aramid::inline v0::detail
