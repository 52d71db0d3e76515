// A driver that does what the kernel may do and hardly ever does, at the whim of a seed: operations that are begun late and in any order, and
// whose completions the kernel keeps to itself as if the queue were full, reads and writes cut short, also between the pieces of a message,
// interruptions, cancels that miss their target, that come when it is done already, that are answered like an interruption. Behind it are real
// descriptors; it is of the kind `completion`, and holds the fibers' buffers until it has made the system call itself, so that whoever leaves too
// early is caught.
//
//   1. `submit` puts the operation into the list, to be tried at once or a little later.
//   2. `poll` and `help` go through the list in an order of their own: what is due is interrupted, or ended if its fiber has asked for
//      that, or tried without waiting (../epoll/attempt.hpp); what would have to wait stays. What has been done may stay too, with its
//      result, and no cancel changes that. A cancel may be forgotten: the fiber asks again (operation.hpp, step 7).
//   3. A sleep waits for the descriptors of all that is due, with poll(2): tests are small.
//
// With a clock of somebody else's it never sleeps: a simulation keeps its worker from being stepped while it is not `able`. Then the
// same seed does the same things in the same order, as far as the descriptors do: Unix sockets, pipes and files, used from one thread.
//
// No operation of this seam completes more than once (IORING_CQE_F_MORE): what the ring has of that kind, its doorbell, is tested on the ring.
//
// The list is under one lock, which the owner lets go of while it sleeps; a peer that then cancels rings.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string_view>
#include <vector>

#include <aramid/detail/spin_lock.hpp>
#include <aramid/driver.hpp>

#include "../doorbell.hpp"
#include "../io_driver.hpp"

namespace aramid::inline v0::detail {

class fake_driver final : public io_driver {
public:
  /// Of 1,024 operations (for cancels: of 1,024 requests).
  struct faults {
    unsigned late = 256;
    unsigned withheld = 64;  ///< completions
    unsigned cut_short = 256;
    unsigned interrupted = 64;
    unsigned out_of_buffers = 64;  ///< to lend
    unsigned cancels_missed = 256;
    unsigned cancels_too_late = 512;  ///< the target is tried before it is ended
    clock::duration latest = std::chrono::microseconds(200);
  };

  /// `now` outlives the driver, if it is not null. Throws: std::system_error if there is no descriptor left.
  explicit fake_driver(std::uint64_t seed, const time_point* now = nullptr) : fake_driver(seed, now, faults()) {}
  fake_driver(std::uint64_t seed, const time_point* now, const faults& often);

  void poll(time_point deadline, wake_batch& batch) noexcept override;
  void wake() noexcept override;
  void flush() noexcept override {}
  bool help(wake_batch& batch) noexcept override;
  [[nodiscard]] std::size_t in_flight() const noexcept override { return in_flight_.load(std::memory_order_relaxed); }
  void drain() noexcept override;
  [[nodiscard]] time_point now() const noexcept override { return virtual_now_ != nullptr ? *virtual_now_ : clock::now(); }
  [[nodiscard]] std::string_view name() const noexcept override { return "fake"; }
  [[nodiscard]] std::size_t submissions() const noexcept override { return submitted_.load(std::memory_order_relaxed); }

  void submit(operation& op) noexcept override;
  void cancel(operation& op, caller from) noexcept override;

  // For a simulation.

  /// Whether a poll would do something: it was woken, or something is due and ready.
  [[nodiscard]] bool able();
  /// When it will be, for what is late.
  [[nodiscard]] time_point next();
  /// A number for what it has done so far: the same for the same run.
  [[nodiscard]] std::uint64_t trace() const noexcept { return trace_; }

private:
  struct pending {
    operation* op;
    time_point due;
    bool cancelled = false;
    std::optional<std::int32_t> withheld = {};  // what came of it
  };

  [[nodiscard]] bool happens(unsigned of_1024) noexcept { return random_() % 1024 < of_1024; }
  /// Returns: whether anything is done.
  bool go_through(wake_batch& batch) noexcept;
  [[nodiscard]] std::int32_t try_now(operation& op) noexcept;
  [[nodiscard]] std::int32_t try_whole(operation& op) noexcept;
  [[nodiscard]] std::int32_t try_part_of_message(operation& op) noexcept;
  [[nodiscard]] time_point a_little_later() noexcept;
  /// Returns: whether it is done, with `result`.
  [[nodiscard]] bool advance(pending& one, std::int32_t& result) noexcept;
  /// Whether the next look ends it, or tries it, whatever its descriptor is ready for.
  [[nodiscard]] static bool needs_no_descriptor(const pending& one, time_point now) noexcept;
  void sleep(time_point deadline) noexcept;

  const faults faults_;
  const time_point* const virtual_now_;
  doorbell doorbell_;
  std::atomic<bool> woken_{false};  // in a simulation
  std::atomic<std::size_t> in_flight_{0};
  std::atomic<std::size_t> submitted_{0};

  spin_lock lock_;  // guards what follows
  std::mt19937_64 random_;
  std::vector<pending> pending_;
  bool asleep_ = false;
  std::uint64_t trace_ = 0;
};

}  // namespace aramid::inline v0::detail
