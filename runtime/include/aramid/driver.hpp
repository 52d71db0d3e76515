// The seam between the scheduler and the kernel. A driver is what a worker polls for completions, sleeps in
// when it has nothing to run, and is woken through. Each worker has one; all of a runtime's are of one kind.
//
// The contract, in the order in which a worker uses it:
//
//   1. Operations are prepared by fibers, on the worker they run on, through the driver's own interface
//      (aramid::io). Preparing publishes; `flush` tells the kernel, unless the driver has done so at once.
//   2. `poll(past, batch)` reaps without blocking. `poll(deadline, batch)` flushes, then blocks until a completion,
//      a `wake`, or the deadline. Both add the tokens of the finished operations to `batch`; the worker puts the
//      whole batch on one run queue at once, its own or a peer's, so that idle workers can steal from it.
//   3. `wake` may come from any thread at any time and is sticky: one that comes before the worker blocks makes
//      the next blocking `poll` return at once. Wakes may coalesce.
//   4. `help` is called by a *peer* of the same runtime while the owner is stuck in a fiber: it may flush
//      and reap on the owner's behalf. It never blocks, and does nothing while the owner is itself inside
//      `poll`: a sleeping owner is never reaped.
//   5. `drain` is called once, on the owner's thread, before the driver is destroyed: it cancels what is in flight and
//      waits until the kernel has let go of all of it.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include <aramid/detail/config.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

namespace detail {
class waiter;
class timer_wheel;
class worker;
}

/// Wakes that are handed to the scheduler together. Not thread-safe: one reaper fills one batch.
class ARAMID_API wake_batch {
public:
  wake_batch() noexcept = default;
  ~wake_batch();

  wake_batch(const wake_batch&) = delete;
  wake_batch& operator=(const wake_batch&) = delete;

  /// Wins `token` if it still can be won and keeps its waiter for the next `commit`.
  /// Returns: false if somebody else had won.
  bool add(park_token token) noexcept;

  /// As `add`, of a token that the caller has claimed. The waiter may be gone on return.
  void add_claimed(park_token token) noexcept;

  /// Makes everything added runnable, in the order of the `add`s.
  void commit() noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
  friend class detail::timer_wheel;
  friend class detail::worker;
  bool add(park_token token, wake_reason reason) noexcept;
  /// All that was added, linked through `next`; none of it is committed then.
  detail::waiter* take() noexcept;

  detail::waiter* first_ = nullptr;
  detail::waiter* last_ = nullptr;
  std::size_t size_ = 0;
};

/// See the top of this file.
class ARAMID_API driver {
public:
  driver() = default;
  virtual ~driver() = default;

  driver(const driver&) = delete;
  driver& operator=(const driver&) = delete;

  /// Flushes, reaps, and if nothing was reaped blocks until `deadline`, a completion or a wake.
  /// A deadline in the past never blocks; `time_point::max()` is no deadline.
  /// Threads: the owner only.
  virtual void poll(time_point deadline, wake_batch& batch) noexcept = 0;

  /// Makes the owner's current or next blocking `poll` return. Threads: any.
  virtual void wake() noexcept = 0;

  /// Whether a `poll` that does not block has something to reap, as far as one can tell without asking the kernel. Threads: the owner.
  [[nodiscard]] virtual bool has_completions() const noexcept { return false; }

  /// Tells the kernel of everything prepared. Never blocks. Threads: the owner.
  virtual void flush() noexcept = 0;

  /// Whether fibers have lately computed for long, and the owner has had time all the same: then the kernel may be told sooner of what fibers
  /// prepare, so that an answer does not wait for all that are ready to run behind its own. A hint. Threads: the owner.
  virtual void hurry(bool /*on*/) noexcept {}

  /// Flushes and reaps for an owner that is busy. Returns whether it reaped anything; it need not count
  /// what was for nobody who still waits. Threads: any worker of the same runtime but the owner.
  virtual bool help(wake_batch& batch) noexcept = 0;

  /// Operations prepared and not yet reaped. Threads: any; exact on the owner.
  [[nodiscard]] virtual std::size_t in_flight() const noexcept = 0;

  /// Cancels and reaps everything in flight. Blocks. Threads: the owner.
  virtual void drain() noexcept = 0;

  /// This driver's time; a virtual clock under test.
  [[nodiscard]] virtual time_point now() const noexcept { return clock::now(); }

  /// "io_uring", "epoll", "fake" or "none".
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  /// Operations handed to the driver so far, for stats(). Threads: any.
  [[nodiscard]] virtual std::size_t submissions() const noexcept { return 0; }
};

/// Makes the `count` drivers of a runtime, all of one kind, before any of them is used, on the thread that needed the first. `wanted` is
/// options::driver.
/// Throws: std::system_error if the kernel refuses; std::invalid_argument if `wanted` names no kind. The runtime then keeps the drivers
///         that it had, and asks again at its next I/O.
using driver_maker = std::vector<std::unique_ptr<driver>> (*)(unsigned count, std::string_view wanted);

namespace detail {

/// The driver of the worker that the calling fiber is on. The runtime's first call makes every worker's driver with
/// `make`, once; a runtime that does no I/O never gets there and keeps the driver "none".
/// Suspends: never, so the result may be used until the caller's next suspension and no longer.
/// Returns:  nullptr if the caller is not a fiber.
/// Throws:   what `make` threw.
[[nodiscard]] ARAMID_API driver* driver_for_io(driver_maker make);

/// What an operation begins with: `enter_wait`, then `driver_for_io`.
/// Suspends: only to give way to others, before it looks; the result is good until the caller's next suspension.
/// Cancels:  throws aramid::cancelled.
/// Returns:  nullptr if the caller is not a fiber.
/// Throws:   what `make` threw.
[[nodiscard]] ARAMID_API driver* enter_io(driver_maker make);

/// Has the cache fetch what a wake of `who` touches. It may be of no use to anybody any more, or null.
ARAMID_API void prefetch(const waiter* who) noexcept;

/// A line for people, to where set_log_handler sends them.
ARAMID_API void log_line(std::string_view line) noexcept;

/// Counts one operation against the fairness budget of the calling fiber without looking at cancellation.
ARAMID_API void count_ready() noexcept;

}  // namespace detail

}  // namespace aramid::inline v0
