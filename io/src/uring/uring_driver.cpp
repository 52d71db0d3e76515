#include "uring_driver.hpp"

#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "encode.hpp"

namespace aramid::inline v0::detail {
namespace {

// user_data of what is no operation: a slot index that no table has.
constexpr std::uint64_t doorbell_data = 0xffff'ffff;
constexpr std::uint64_t nobodys_data = 0x1'ffff'ffff;
static_assert(slot_table::max_slots < doorbell_data);

constexpr int submit_attempts = 1000;
constexpr std::chrono::milliseconds drain_patience(10);

// A counter with one writer at a time: no locked instruction.
void count(std::atomic<std::uint64_t>& counter, std::uint64_t by = 1) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

[[noreturn]] void completion_lost() noexcept {
  // The kernel had no memory to keep a completion in, and said so (-EBADR, man io_uring_enter).
  // Some fiber's buffer is now the kernel's for ever: there is no way to go on.
  std::fputs("aramid: io_uring has dropped a completion for want of kernel memory\n", stderr);
  std::abort();
}

void membarrier_all_running() noexcept {
  // runtime_core::start has registered already, when that was cheap; this only asks whether it may be used. If not the owner is
  // interrupted by the timer tick.
  static const bool registered =
      ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
  if (registered) {
    ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
  }
}

}  // namespace

uring_driver::uring_driver(const uring_options& options)
    : io_driver(io_style::completion),
      ring_(options.sizes),
      peers_cancel_(options.peers_cancel && ring_.cancel_now(nobodys_data) == -ENOENT) {}

int uring_driver::enter(unsigned count, unsigned completions, time_point deadline) noexcept {
  const int result = ring_.enter(count, completions, deadline);
  if (ARAMID_UNLIKELY(result == -EBADR)) {
    completion_lost();
  }
  return result;
}

void uring_driver::submit(operation& op) noexcept {
  op.home = this;
  io_uring_sqe* const entry = next_entry();
  count(submitted_);
  const bool lends = op.kind != op_kind::receive_lent || can_lend();
  if (ARAMID_LIKELY(entry != nullptr)) {
    encode(op, *entry);  // before `acquire`: from there on the operation is the reaper's to write to
  }
  if (ARAMID_UNLIKELY(entry == nullptr || !lends || !slots_.acquire(op))) {
    const std::lock_guard guard(reap_lock_);  // for finished_
    count(finished_);
    unpark(op.finish(lends ? -ENOMEM : -ENOBUFS));
    return;
  }
  entry->user_data = op.ticket;
  ring_.publish();
  if (ARAMID_UNLIKELY(op.to_device || hurries_)) {
    flush();
  }
}

bool uring_driver::can_lend() noexcept {
  if (ARAMID_UNLIKELY(lent_ == nullptr && !cannot_lend_)) {
    lent_.reset(lent_buffers::make(ring_.native()));
    cannot_lend_ = lent_ == nullptr;
  }
  return lent_ != nullptr;
}

io_uring_sqe* uring_driver::next_entry() noexcept {
  io_uring_sqe* entry = ring_.prepare();
  for (int i = 0; ARAMID_UNLIKELY(entry == nullptr) && i < submit_attempts; ++i) {
    count(full_);
    // Flush; if the kernel will not take more before it has got rid of completions (EBUSY), or has
    // no memory for requests (EAGAIN), reap and try again (liburing#705).
    if (enter(ring_.unsubmitted(), 0) < 0) {
      wake_batch batch;
      {
        const std::lock_guard guard(reap_lock_);
        reap(batch, caller::owner);
      }
      batch.commit();
      sched_yield();
    }
    entry = ring_.prepare();
  }
  return entry;
}

void uring_driver::flush() noexcept {
  if (const unsigned count = ring_.unsubmitted(); count != 0) {
    // Whatever it says, what it did not take stays published, and the next poll sees to it.
    enter(count, 0);
  }
}

void uring_driver::poll(time_point deadline, wake_batch& batch) noexcept {
  if (ARAMID_UNLIKELY(!mailbox_.empty())) {
    take_mail();
  }
  // The clock is read only if there is nothing to reap.
  if (deadline <= time_point()) {
    poll_ready(batch);
  } else {
    poll_or_sleep(deadline, batch);
  }
}

void uring_driver::poll_ready(wake_batch& batch) noexcept {
  const unsigned count = ring_.unsubmitted();
  const bool kernel_waits = ring_.has_task_work() || ring_.has_overflow();
  if (count == 0 && !kernel_waits && !ring_.has_completions()) {
    return;
  }
  const std::lock_guard guard(reap_lock_);
  if (count != 0 || kernel_waits) {
    enter(count, 0);
  }
  reap(batch, caller::owner);
}

void uring_driver::poll_or_sleep(time_point deadline, wake_batch& batch) noexcept {
  const std::lock_guard guard(reap_lock_);
  if (ring_.has_completions() || ring_.has_overflow() ||
      (deadline != time_point::max() && deadline <= clock::now())) {
    if (const unsigned count = ring_.unsubmitted();
        count != 0 || ring_.has_task_work() || ring_.has_overflow()) {
      enter(count, 0);
    }
    reap(batch, caller::owner);
    return;
  }

  if (ARAMID_UNLIKELY(doorbell_arm_ == arm::unarmed)) {
    publish_doorbell();
  }
  const bool sleep = doorbell_.begin_sleep();
  const unsigned count = ring_.unsubmitted();
  if (sleep) {
    // Every way out of it is taken alike: done, timed out, interrupted (liburing#744, #1280), busy.
    // What counts is in the queue; the scheduler calls again.
    enter(count, 1, deadline);
    doorbell_.end_sleep();
#if defined(__SANITIZE_THREAD__)
    // ThreadSanitizer keeps a signal back until the thread calls something that it intercepts, and
    // the ring is not that.
    usleep(0);
#endif
  } else if (count != 0 || ring_.has_task_work()) {
    enter(count, 0);
  }
  if (doorbell_arm_ == arm::published && ring_.unsubmitted() == 0) {
    doorbell_arm_ = arm::armed;
  }
  reap(batch, caller::owner);
}

void uring_driver::publish_doorbell() noexcept {
  // Not next_entry: the lock is held. If the queue is full now, this call submits it, and the next
  // sleep is soon.
  io_uring_sqe* entry = ring_.prepare();
  if (entry == nullptr) {
    enter(ring_.unsubmitted(), 0);
    entry = ring_.prepare();
  }
  if (entry == nullptr) {
    doorbell_.note();  // do not sleep without it
    return;
  }
  io_uring_prep_poll_multishot(entry, doorbell_.fd(), POLLIN);
  entry->user_data = doorbell_data;
  ring_.publish();
  doorbell_arm_ = arm::published;
}

std::uint64_t uring_driver::reap(wake_batch& batch, caller from) noexcept {
  const std::uint64_t before = finished_.load(std::memory_order_relaxed);
  for (;;) {
    ring_.reap([&](const io_uring_cqe& cqe) { apply(cqe, batch, from); },
               [&](const io_uring_cqe& further, const io_uring_cqe& soon) {
                 if (const operation* const op = slots_.peek(further.user_data)) {
                   op->prefetch();
                 }
                 if (const operation* const op = slots_.peek(soon.user_data)) {
                   op->prefetch_waiter();
                 }
               });
    if (ARAMID_LIKELY(!ring_.has_overflow())) {
      break;
    }
    count(overflown_);
    // There is room again: have what the kernel kept.
    if (enter(0, 0) < 0 || !ring_.has_completions()) {
      break;
    }
  }
  return finished_.load(std::memory_order_relaxed) - before;
}

void uring_driver::apply(const io_uring_cqe& cqe, wake_batch& batch, caller from) noexcept {
  if (ARAMID_UNLIKELY(static_cast<std::uint32_t>(cqe.user_data) ==
                      static_cast<std::uint32_t>(doorbell_data))) {
    if (cqe.user_data == doorbell_data) {
      // A multishot has ended when F_MORE is absent, whatever the result says.
      if ((cqe.flags & IORING_CQE_F_MORE) == 0) {
        doorbell_arm_ = arm::unarmed;
      }
      if (from == caller::peer) {
        doorbell_.note();
      }
    }
    return;
  }
  operation* const op = slots_.take(cqe.user_data, from);
  if (ARAMID_UNLIKELY((cqe.flags & IORING_CQE_F_BUFFER) != 0)) {
    hand_over(cqe, op);
  }
  if (ARAMID_UNLIKELY(op == nullptr)) {
    return;
  }
  count(finished_);
  op->finish(cqe.res, batch);
}

void uring_driver::hand_over(const io_uring_cqe& cqe, operation* op) noexcept {
  std::byte* const buffer = lent_->lend(static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT));
  if (op != nullptr && cqe.res > 0) {
    op->address = buffer;
    op->lender = lent_.get();
  } else {
    // Linux 6 keeps it in the ring itself where nothing was received; nobody promises that.
    lent_->take_back(buffer);
  }
}

bool uring_driver::help(wake_batch& batch) noexcept {
  const bool waits_for_owner = ring_.has_task_work();
  if (!waits_for_owner && !ring_.has_completions() && ring_.unsubmitted() == 0 &&
      !ring_.has_overflow()) {
    return false;
  }
  if (!reap_lock_.try_lock()) {
    return false;
  }
  const std::lock_guard guard(reap_lock_, std::adopt_lock);
  if (const unsigned count = ring_.unsubmitted(); count != 0 && doorbell_arm_ != arm::published) {
    enter(count, 0);
  }
  if (waits_for_owner) {
    nudge_owner();
  }
  const std::uint64_t finished = reap(batch, caller::peer);
  count(helped_, finished);
  return finished != 0;
}

void uring_driver::nudge_owner() noexcept { membarrier_all_running(); }

void uring_driver::cancel(operation& op, caller from) noexcept {
  const std::uint64_t ticket = op.ticket;
  if (from == caller::owner) {
    queue_cancel(ticket, 0);
    return;
  }
  if (!peers_cancel_) {
    mailbox_.put(ticket);
    wake();
    return;
  }
  if (ring_.unsubmitted() != 0 && reap_lock_.try_lock()) {
    const std::lock_guard guard(reap_lock_, std::adopt_lock);
    if (doorbell_arm_ != arm::published) {
      enter(ring_.unsubmitted(), 0);
    }
  }
  (void)ring_.cancel_now(ticket);
  if (ring_.has_task_work() && !doorbell_.is_asleep()) {
    nudge_owner();
  }
}

void uring_driver::queue_cancel(std::uint64_t user_data, std::uint32_t flags) noexcept {
  if (io_uring_sqe* const entry = next_entry()) {
    io_uring_prep_cancel64(entry, user_data, static_cast<int>(flags));
    entry->user_data = nobodys_data;
    ring_.publish();
  }
}

void uring_driver::take_mail() noexcept {
  mailbox_.take_all([this](std::uint64_t ticket) { queue_cancel(ticket, 0); });
}

std::size_t uring_driver::in_flight() const noexcept {
  // Finished first: it only follows.
  const std::uint64_t finished = finished_.load(std::memory_order_relaxed);
  return submitted_.load(std::memory_order_relaxed) - finished;
}

void uring_driver::drain() noexcept {
  wake_batch batch;
  while (in_flight() != 0 || doorbell_arm_ != arm::unarmed) {
    // Everything of this ring, the doorbell included, and whatever peers have submitted.
    queue_cancel(0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    const std::lock_guard guard(reap_lock_);
    enter(ring_.unsubmitted(), 0);
    if (doorbell_arm_ == arm::published && ring_.unsubmitted() == 0) {
      doorbell_arm_ = arm::armed;
    }
    // The first completion is the cancel's own, and says nothing.
    reap(batch, caller::owner);
    if (in_flight() != 0 || doorbell_arm_ != arm::unarmed) {
      enter(0, 1, clock::now() + drain_patience);
      reap(batch, caller::owner);
    }
  }
  batch.commit();
}

}  // namespace aramid::inline v0::detail
