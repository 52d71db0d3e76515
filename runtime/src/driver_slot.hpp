// The driver that a worker sleeps in, and how the worker is woken whichever that is. A runtime begins without I/O; its first operation
// gives every worker another driver, also one that is asleep in its old one at that moment.
//
//   waker     N1. after it has published what there is to do: notified_ = true
//             N2. reads the driver
//             N3. wakes it; every driver's wake is sticky
//   owner     O1. reads the driver
//             O2. takes notified_: if it was set, it does not sleep
//             O3. sleeps in the driver that it has read
//             O4. takes notified_ (acquire, as in O2: whoever has set it has published first), and looks at everything
//   changer   C1. puts the new driver in place (release: it is complete)
//             C2. wakes the old one, in which the owner may sleep
//
// N1, N2, O1 and O2 are seq_cst. Why no wake is lost: if O2 misses N1, then O1 comes before N2 in the one order of them all, so that the
// waker wakes the driver that the owner sleeps in, or a newer one. If a newer one, C2 wakes the owner, whose next O1 reads the
// newer one too: the waker's wake is sticky there, or still to come.
//
// Old drivers are kept until the runtime is gone: a waker may hold one for as long as it likes.
//
// Rejected: a lock, which every wake would pay for what happens once.
#pragma once

#include <atomic>

#include <aramid/detail/atomics.hpp>

namespace aramid::inline v0::detail {

template <class Driver, class Atomics = std_atomics>
class driver_slot {
public:
  /// The newest one. The owner may be asleep in an older one.
  [[nodiscard]] Driver& current() const noexcept { return *driver_.load(std::memory_order_seq_cst); }

  /// N1–N3. Makes the owner's current or next sleep end.
  void wake() noexcept {
    notified_.store(true, std::memory_order_seq_cst);
    current().wake();
  }

  /// C1 and C2. The first time it is what the owner begins with.
  void replace(Driver& made) noexcept {
    if (Driver* const before = driver_.exchange(&made, std::memory_order_release)) {
      before->wake();
    }
  }

  /// O1 and O2. `may_sleep` is the owner's last look for something to do.
  /// Returns: the driver to sleep in, or nullptr. O4 has to follow either.
  template <class MaySleep>
  [[nodiscard]] Driver* prepare_sleep(MaySleep may_sleep) noexcept {
    Driver& mine = current();
    return may_sleep() && !notified_.exchange(false, std::memory_order_seq_cst) ? &mine : nullptr;
  }

  /// O4.
  void end_sleep() noexcept { notified_.exchange(false, std::memory_order_acquire); }

private:
  typename Atomics::template atomic<Driver*> driver_{nullptr};  // written by runtime_core when the drivers are made
  typename Atomics::template atomic<bool> notified_{false};     // set by wakers, cleared by the owner
};

}  // namespace aramid::inline v0::detail
