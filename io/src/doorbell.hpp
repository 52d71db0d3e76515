// How a worker that sleeps in its ring is woken by somebody who is not the kernel.
//
//   1. `ring` sets the state to `rung`. If it was `asleep`, and only then, it also writes the
//      eventfd, which the worker's ring polls. So waking a busy worker costs no system call.
//   2. The worker that is about to sleep changes `awake` to `asleep`. If it finds `rung` instead,
//      it takes that back and does not sleep: a ring that comes before the sleep is not lost.
//   3. Awake again, for whatever reason, it sets `awake`, which takes what has been rung meanwhile.
//
// The state is what counts; the completion of the poll only makes the kernel return. One that comes
// late, after the worker was woken by something else, makes a later sleep end early once and does
// no other harm.
//
// Whatever the ringer has written before `ring` is seen by the worker after the sleep that it ends or prevents (doorbell_word.hpp, which is
// model-checked).
#pragma once

#include "doorbell_word.hpp"

namespace aramid::inline v0::detail {

class doorbell {
public:
  /// Throws: std::system_error if there is no descriptor left.
  doorbell();
  ~doorbell();

  doorbell(const doorbell&) = delete;
  doorbell& operator=(const doorbell&) = delete;

  /// Step 1. Threads: any.
  void ring() noexcept;

  /// Step 1 without the write: for a peer that has reaped the eventfd's completion, while the
  /// worker cannot be asleep.
  void note() noexcept { (void)word_.ring(); }

  /// Step 2. The owner. Returns: whether to sleep.
  [[nodiscard]] bool begin_sleep() noexcept { return word_.begin_sleep(); }

  /// Step 3. The owner.
  void end_sleep() noexcept { word_.end_sleep(); }

  /// Whether the owner is in a sleep. A hint: it may end at any moment.
  [[nodiscard]] bool is_asleep() const noexcept { return word_.is_asleep(); }

  /// To be polled by the owner's ring, edge-triggered; never read, as its counter cannot fill.
  [[nodiscard]] int fd() const noexcept { return fd_; }

private:
  doorbell_word<> word_;
  const int fd_;
};

}  // namespace aramid::inline v0::detail
