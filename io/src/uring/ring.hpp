// One io_uring: its mapped queues and the one system call. Who may call what, and when, is
// uring_driver.hpp's protocol; this file knows the memory layout and the memory orders.
//
// The submission tail is stored by us and not by liburing, which would do it lazily at submit: a
// peer that flushes for a busy owner can only submit what has been published.
#pragma once

#include <liburing.h>

#include <atomic>
#include <cstdint>
#include <cstring>

#include <aramid/detail/config.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

struct ring_sizes {
  unsigned submissions = 256;
  /// Several times the submissions: what is in flight at once is not bounded by the submission
  /// queue (silk#81). What does not fit the kernel keeps until there is room (IORING_FEAT_NODROP),
  /// at a price.
  unsigned completions = 4096;
};

class ring {
public:
  /// Throws: std::system_error that names the call and the way out.
  explicit ring(ring_sizes sizes);
  ~ring();

  ring(const ring&) = delete;
  ring& operator=(const ring&) = delete;

  // The owner's: prepare, fill, publish, one after the other.

  /// The next free entry, cleared; nullptr if the queue is full.
  [[nodiscard]] io_uring_sqe* prepare() noexcept {
    // acquire: pairs with the kernel's release of the head: it has read the entry that is about to be
    // overwritten.
    const unsigned head = std::atomic_ref(*ring_.sq.khead).load(std::memory_order_acquire);
    if (ARAMID_UNLIKELY(tail_ - head >= ring_.sq.ring_entries)) {
      return nullptr;
    }
    io_uring_sqe& entry = ring_.sq.sqes[tail_ & ring_.sq.ring_mask];
    std::memset(&entry, 0, sizeof entry);
    return &entry;
  }

  /// Shows the kernel, and peers, the entry that `prepare` gave.
  void publish() noexcept {
    ++tail_;
    // release: pairs with the kernel's acquire of the tail at submit, and with `unsubmitted` of a
    // peer.
    std::atomic_ref(*ring_.sq.ktail).store(tail_, std::memory_order_release);
  }

  // Anybody's.

  /// Published and not yet taken by the kernel.
  [[nodiscard]] unsigned unsubmitted() const noexcept {
    // The head first: it only follows the tail, so the difference is never negative. acquire: pairs
    // with the kernel's release of the head, and with `publish`.
    const unsigned head = std::atomic_ref(*ring_.sq.khead).load(std::memory_order_acquire);
    return std::atomic_ref(*ring_.sq.ktail).load(std::memory_order_acquire) - head;
  }

  [[nodiscard]] bool has_completions() const noexcept {
    return std::atomic_ref(*ring_.cq.khead).load(std::memory_order_relaxed) !=
           std::atomic_ref(*ring_.cq.ktail).load(std::memory_order_acquire);
  }

  /// The kernel has completions that wait for the task that submitted to enter it.
  [[nodiscard]] bool has_task_work() const noexcept { return (flags() & IORING_SQ_TASKRUN) != 0; }

  /// The kernel keeps completions for which the queue had no room.
  [[nodiscard]] bool has_overflow() const noexcept {
    return (flags() & IORING_SQ_CQ_OVERFLOW) != 0;
  }

  /// io_uring_enter: submits up to `count`, then waits for `completions` of them until `deadline`. Since Linux 6.15 a thread that sleeps in it
  /// is idle to the kernel's statistics; before, it counts as waiting for a disk (iowait), whatever it waits for (liburing#943).
  /// Returns: the number submitted, or -errno.
  int enter(unsigned count, unsigned completions, time_point deadline = time_point::max()) noexcept;

  /// Ends the request with this user_data, from any thread, without a submission.
  /// Returns: 0, or -ENOENT, -ETIME, -EALREADY (it will end, or not: look at its completion),
  ///          -EINVAL (no such call).
  int cancel_now(std::uint64_t user_data) noexcept;

  // Who holds the reap lock.

  /// Hands every completion to `apply`, in order. Where there are many, `ahead(further, soon)` gets two that come later, so
  /// that what they are about can be fetched into the cache meanwhile.
  /// Returns: their number.
  template <class Apply, class Ahead>
  unsigned reap(Apply&& apply, Ahead&& ahead) noexcept {
    constexpr unsigned further = 6, soon = 3;
    unsigned head = std::atomic_ref(*ring_.cq.khead).load(std::memory_order_relaxed);
    const unsigned first = head;
    const auto entry = [this](unsigned place) -> const io_uring_cqe& { return ring_.cq.cqes[place & ring_.cq.ring_mask]; };
    for (;;) {
      // acquire: pairs with the kernel's release of the tail.
      const unsigned left = std::atomic_ref(*ring_.cq.ktail).load(std::memory_order_acquire) - head;
      if (left == 0) {
        return head - first;
      }
      if (left > further) {
        ahead(entry(head + further), entry(head + soon));
      }
      const io_uring_cqe cqe = entry(head);
      // release: the kernel may overwrite the entry.
      std::atomic_ref(*ring_.cq.khead).store(++head, std::memory_order_release);
      apply(cqe);
    }
  }

  template <class Apply>
  unsigned reap(Apply&& apply) noexcept {
    return reap(apply, [](const io_uring_cqe&, const io_uring_cqe&) {});
  }

  [[nodiscard]] int fd() const noexcept { return ring_.ring_fd; }
  /// For what is registered with it. The owner.
  [[nodiscard]] io_uring& native() noexcept { return ring_; }
  [[nodiscard]] unsigned submission_entries() const noexcept { return ring_.sq.ring_entries; }
  [[nodiscard]] unsigned completion_entries() const noexcept { return ring_.cq.ring_entries; }

private:
  void check_features(unsigned features) const;
  void cap_kernel_threads() noexcept;

  [[nodiscard]] unsigned flags() const noexcept {
    // A hint: what it announces is looked at again under the kernel's own lock.
    return std::atomic_ref(*ring_.sq.kflags).load(std::memory_order_relaxed);
  }

  io_uring ring_{};
  unsigned tail_ = 0;         // the owner's copy of the submission tail
  unsigned sleep_flags_ = 0;  // of io_uring_enter
};

}  // namespace aramid::inline v0::detail
