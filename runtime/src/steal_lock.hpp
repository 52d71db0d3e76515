// Who may take from a worker's queues: their owner, who does so at every switch, or one of its peers, who does so when it has
// run out of work. A lock that is biased to the owner: its side is two plain stores and a load, without any
// read-modify-write or fence (4.7 ns each here, as much as a whole switch); the thief pays, with a heavy fence.
//
//   owner   1. owner_ = true
//           2. light fence                                                (pairs with 6)
//           3. looks at visit_; if a thief is there: owner_ = false, granted_ = that visit (release), waits until it is over, begins again.
//              Where light fences are not free visit_ says so too, and 2 is done only now, and the look again: one test for both
//           …  takes, then owner_ = false (release)
//   thief   4. visit_: nobody inside → inside, or gives up: another thief is there
//           5. looks for a while whether granted_ is its visit: an owner that switches often comes by soon. If so it is inside
//           6. else heavy fence                                           (pairs with 2)
//           7. looks at owner_ until it is false, or gives up after a while: the owner's thread may have lost its CPU
//           …  takes, then visit_: inside → nobody inside (release)
//
// An owner that has granted a visit waits for its end. Otherwise, of 1 (store) … 3 (load) and 4 (store) … 7 (load), with the fences
// between, at least one load sees the other's store. So they are never both inside. Both let go with release and look with acquire:
// what one has done happens before what the other does.
//
// The owner's wait is for a few dozen instructions of the thief, and in the second case its fence; a thief that loses its CPU in
// there is waited for with sched_yield.
//
// Why 5: a heavy fence interrupts every running thread of the process, 15 to 20 µs here with one. Trees of a million tiny fibers on two
// workers took 5 times as long with a fence for each steal.
//
// Rejected: queues that owner and thieves take from by CAS (Chase and Lev's deque, and a ring with one CAS per pop): one or two
// read-modify-writes for each switch. They were here before; runtime/README.md has the figures. An optimistic owner that takes first
// and then looks whether a thief has come: it saves one store and needs a protocol for taking back, in every queue. Only to ask,
// without 6: a fiber that hogs its thread never answers, and what lies behind it would be stranded.
#pragma once

#include <atomic>
#include <cstdint>

#include <aramid/detail/config.hpp>

#include "asymmetric_fence.hpp"

namespace aramid::inline v0::detail {

template <class Atomics = asymmetric_atomics>
class steal_lock {
public:
  /// Owner.
  void enter() noexcept {
    owner_.store(true, std::memory_order_relaxed);
    Atomics::free_fence();
    // acquire: pairs with exit.
    const std::uint32_t visit = visit_.load(std::memory_order_acquire);
    if (ARAMID_UNLIKELY((visit & (inside | fences_cost)) != 0)) {
      enter_slowly(visit);
    }
  }

  /// Owner: false if it would have to wait, or a fence costs something. `leave` must follow in either case.
  [[nodiscard]] bool try_enter_as_owner() noexcept {
    owner_.store(true, std::memory_order_relaxed);
    Atomics::free_fence();
    return ARAMID_LIKELY((visit_.load(std::memory_order_acquire) & (inside | fences_cost)) == 0);
  }

  void leave() noexcept { owner_.store(false, std::memory_order_release); }

  /// Any peer. If it returns true `exit` must follow soon.
  bool try_enter() noexcept {
    std::uint32_t visit = visit_.load(std::memory_order_relaxed);
    // Relaxed: what the thief before has done comes with the grant or the fence.
    if ((visit & inside) != 0 || !visit_.compare_exchange_strong(visit, visit + inside, std::memory_order_relaxed,
                                                                 std::memory_order_relaxed)) {
      return false;
    }
    visit += inside;
    for (int i = 0; i != Atomics::patience; ++i) {
      // acquire: pairs with wait_for_thief.
      if (granted_.load(std::memory_order_acquire) == visit) {
        return true;
      }
      Atomics::pause();
    }
    Atomics::heavy_fence();
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
  void exit() noexcept {
    visit_.store(visit_.load(std::memory_order_relaxed) + inside, std::memory_order_release);
  }

private:
  // visit_: the visits' number in the higher bits.
  static constexpr std::uint32_t fences_cost = 1;  // constant
  static constexpr std::uint32_t inside = 2;

  __attribute__((noinline)) void enter_slowly(std::uint32_t visit) noexcept {
    if ((visit & fences_cost) != 0) {
      Atomics::light_fence();
      visit = visit_.load(std::memory_order_acquire);
    }
    while ((visit & inside) != 0) {
      // release, as in leave: the thief may go by either.
      owner_.store(false, std::memory_order_release);
      granted_.store(visit, std::memory_order_release);
      for (int i = 0; visit_.load(std::memory_order_relaxed) == visit; ++i) {
        i < Atomics::patience ? Atomics::pause() : Atomics::yield();
      }
      owner_.store(true, std::memory_order_relaxed);
      Atomics::light_fence();
      visit = visit_.load(std::memory_order_acquire);
    }
  }

  typename Atomics::template atomic<bool> owner_{false};           // written by the owner
  typename Atomics::template atomic<std::uint32_t> granted_{0};    // written by the owner: the visit it waits for
  // Written by whoever steals.
  alignas(64) typename Atomics::template atomic<std::uint32_t> visit_{Atomics::light_fences_are_free() ? 0 : fences_cost};
};

}  // namespace aramid::inline v0::detail
