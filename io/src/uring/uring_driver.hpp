// The io_uring driver: one ring per worker, which peers may help while the worker is stuck in a
// fiber (DESIGN §5).
//
// Who may touch what:
//
//   submission queue   The owner alone prepares entries, and publishes each as it is prepared.
//                      Telling the kernel of them (io_uring_enter) is anybody's: the kernel takes
//                      its own lock. The owner does it in batches: when its queue of fibers is
//                      dry, when it polls, in the call in which it goes to sleep.
//   completion queue   Whoever holds the reap lock, which is only ever tried by peers.
//                      Completions are applied in order under it; only wakes leave it, in a batch.
//   slots              slot_table.hpp.
//   lent buffers       The owner makes them, before an operation that asks for one is published. Whoever reaps takes one from
//                      the kernel, anybody gives it back (lent_buffers.hpp). The driver lets go of them after its ring has
//                      gone: until then the kernel may write there.
//
// The owner, poll:
//   1. Nothing published, nothing completed, no flag from the kernel, and a deadline that has
//      passed: nothing to do, no call.
//   2. It takes the reap lock. To sleep it keeps it: last look at the queue, doorbell to `asleep`,
//      io_uring_enter that submits and waits, doorbell to `awake`. So a sleeping owner is never
//      reaped: a peer was once seen to swallow the completion that should have woken the owner, who
//      slept on for its whole timeout.
//   3. It reaps and lets go of the lock.
//
// A peer, help:
//   1. It looks without a lock whether there is anything to do, then tries the reap lock; if that
//      is taken, the owner is in poll, or another peer is here: somebody does the work.
//   2. It submits what is published, except when the doorbell's own entry is among it (below).
//   3. If the kernel has completions that wait for the owner to enter it (IORING_SQ_TASKRUN), it
//      interrupts the owner with a membarrier: that takes 20–90 µs to show, where the timer tick
//      takes 2–4 ms. It does not wait for it.
//   4. It reaps. A completion of the doorbell makes it ring again without a write, for the owner's
//      next sleep.
//
// The doorbell's entry must be submitted by the owner: what a request has left to do when it
// triggers is done by the task that submitted it, and a peer that is itself busy would keep the
// owner asleep. So the owner arms it under the reap lock, on its way to sleep, and a peer that
// finds it published but not yet armed leaves submitting to the owner.
//
// Devices: a read past the page cache, and a write so, goes to the kernel at once. A device tells of many ends together, so fibers that
// read so come in waves: one reap wakes a dozen, and each asks for the next piece. If those were told to the kernel in the call in
// which the owner goes to sleep, the device would stand still until the last fiber had run (io/README.md has the trace and the figures).
//
// Stalls: while fibers compute for long (`hurry`), what one prepares goes to the kernel at once. Else the answers of those that ran first wait for
// one that computes for a millisecond behind them (io/README.md, "Under stalls").
//
// Cancelling: the owner queues an ASYNC_CANCEL behind the operation. A peer submits what is
// published, as the operation may be among it, then cancels with IORING_REGISTER_SYNC_CANCEL, which
// needs no entry; where the kernel has no such call it leaves the ticket in a mailbox and rings.
// Either may miss; the fiber asks again (operation.hpp).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>

#include <aramid/detail/spin_lock.hpp>
#include <aramid/driver.hpp>

#include "../doorbell.hpp"
#include "../io_driver.hpp"
#include "cancel_mailbox.hpp"
#include "lent_buffers.hpp"
#include "ring.hpp"
#include "slot_table.hpp"

namespace aramid::inline v0::detail {

struct uring_options {
  ring_sizes sizes;
  /// Whether peers may cancel by themselves, where the kernel lets them. Tests say no.
  bool peers_cancel = true;
};

class uring_driver final : public io_driver {
public:
  /// Throws: std::system_error, see ring.
  explicit uring_driver(const uring_options& options = {});

  void poll(time_point deadline, wake_batch& batch) noexcept override;
  void wake() noexcept override { doorbell_.ring(); }
  [[nodiscard]] bool has_completions() const noexcept override { return ring_.has_completions() || ring_.has_task_work(); }
  void flush() noexcept override;
  void hurry(bool on) noexcept override { hurries_ = on; }
  bool help(wake_batch& batch) noexcept override;
  [[nodiscard]] std::size_t in_flight() const noexcept override;
  void drain() noexcept override;
  [[nodiscard]] std::string_view name() const noexcept override { return "io_uring"; }

  /// Operations submitted, as far as one can tell from outside while it counts.
  [[nodiscard]] std::size_t submissions() const noexcept override {
    return submitted_.load(std::memory_order_relaxed);
  }

  void submit(operation& op) noexcept override;
  void cancel(operation& op, caller from) noexcept override;

  /// How many completions peers have reaped. Threads: any.
  [[nodiscard]] std::size_t helped() const noexcept {
    return helped_.load(std::memory_order_relaxed);
  }

  /// How often the submission queue was full, and the completion queue had overflown. Threads: any.
  [[nodiscard]] std::size_t times_full() const noexcept { return full_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t times_overflown() const noexcept { return overflown_.load(std::memory_order_relaxed); }

  [[nodiscard]] const ring& queue() const noexcept { return ring_; }

  /// What `hurry` said last. Threads: the owner.
  [[nodiscard]] bool hurries() const noexcept { return hurries_; }

private:
  enum class arm : std::uint8_t { unarmed, published, armed };

  // The owner.
  void poll_ready(wake_batch& batch) noexcept;
  void poll_or_sleep(time_point deadline, wake_batch& batch) noexcept;
  void publish_doorbell() noexcept;
  void queue_cancel(std::uint64_t user_data, std::uint32_t flags) noexcept;
  /// Makes what `receive_lent` needs, once. Returns: false if the kernel refuses.
  [[nodiscard]] bool can_lend() noexcept;
  void take_mail() noexcept;
  [[nodiscard]] io_uring_sqe* next_entry() noexcept;

  /// ring::enter, for whoever may. A negative result other than a lost completion is for the caller
  /// to ignore or not.
  int enter(unsigned count, unsigned completions, time_point deadline = time_point::max()) noexcept;

  // Under the reap lock.
  /// Returns: how many operations it finished.
  std::uint64_t reap(wake_batch& batch, caller from) noexcept;
  void apply(const io_uring_cqe& cqe, wake_batch& batch, caller from) noexcept;
  /// The buffer that a receive has taken, to `op`, if that got bytes.
  void hand_over(const io_uring_cqe& cqe, operation* op) noexcept;

  void nudge_owner() noexcept;

  std::unique_ptr<lent_buffers, lent_buffers::releaser> lent_;  // the owner makes them; before ring_, so that they go after it
  ring ring_;
  slot_table slots_;
  doorbell doorbell_;
  cancel_mailbox mailbox_;
  spin_lock reap_lock_;
  arm doorbell_arm_ = arm::unarmed;  // under reap_lock_
  const bool peers_cancel_;
  bool cannot_lend_ = false;         // the owner, as the next
  bool hurries_ = false;

  std::atomic<std::uint64_t> submitted_{0};  // the owner; others read, so relaxed
  std::atomic<std::uint64_t> finished_{
      0};  // under reap_lock_, or the owner in `submit`; others read, so relaxed
  std::atomic<std::uint64_t> helped_{0};  // under reap_lock_; others read, so relaxed, as is the next
  std::atomic<std::uint64_t> overflown_{0};
  std::atomic<std::uint64_t> full_{0};  // the owner; others read, so relaxed
};

}  // namespace aramid::inline v0::detail
