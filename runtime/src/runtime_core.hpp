// What the workers of one runtime share, and its life:
//
//   1. made:     workers exist, no thread runs. A test may step them from here on (`stepped`).
//   2. started:  one thread per worker, and a watchdog if there are peers to help.
//   3. stopping: set once, by `stop`. What is spawned from now on is born cancelled; from plain threads, refused. Every
//                fiber that lives is cancelled, and `stop` waits until as many have ended as were ever spawned (shutdown_gate.hpp).
//   4. exiting:  no fiber lives. Workers drain their drivers and their threads end; they are joined.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <aramid/driver.hpp>
#include <aramid/run.hpp>

#include "forks.hpp"
#include "idle_set.hpp"
#include "injection_queue.hpp"
#include "offload_pool.hpp"
#include "quit_dump.hpp"
#include "shutdown_gate.hpp"
#include "stack_pool.hpp"
#include "watchdog.hpp"
#include "worker.hpp"

namespace aramid::inline v0::detail {

struct running_fiber;

class runtime_core : public std::enable_shared_from_this<runtime_core> {
public:
  enum class mode : bool { threads, stepped };

  /// Throws: std::invalid_argument naming the option; std::system_error.
  explicit runtime_core(const options& opts, mode how = mode::threads, std::uint64_t seed = 0);
  ~runtime_core();

  /// Ends the threads that were started if one cannot be.
  void start();
  void stop(std::chrono::milliseconds grace);

  [[nodiscard]] statistics stats() const;

  [[nodiscard]] unsigned worker_count() const noexcept { return static_cast<unsigned>(workers_.size()); }
  [[nodiscard]] worker& worker_at(unsigned index) const noexcept { return *workers_[index]; }
  [[nodiscard]] bool stepped() const noexcept { return stepped_; }
  [[nodiscard]] shutdown_gate<>& gate() noexcept { return gate_; }
  [[nodiscard]] bool exiting() const noexcept { return exiting_.load(std::memory_order_acquire); }

  /// Whether this process is a fork of the one that made it: nobody runs its fibers (forks.hpp).
  [[nodiscard]] bool of_another_process() const noexcept { return made_after_forks_ != fork_count(); }

  [[nodiscard]] idle_set<>& idle() noexcept { return idle_; }
  [[nodiscard]] injection_queue<fiber_control>& injection() noexcept { return injection_; }

  [[nodiscard]] std::size_t default_stack_size() const noexcept { return default_stacks_.size_bytes(); }
  [[nodiscard]] stack_pool& default_stacks() noexcept { return default_stacks_; }
  [[nodiscard]] stack_pool& stacks_of(std::size_t size_bytes);
  /// The fiber whose stack's guard `address` lies in, or nullptr. On the way to abort only.
  [[nodiscard]] const fiber_control* overflowed(const void* address) const noexcept;

  /// A fiber is born outside of the workers. False if the runtime no longer takes any: then the birth is void.
  /// Throws: std::logic_error in a forked child.
  [[nodiscard]] bool admit();

  /// Queues a fiber that has been woken, or was born outside, from wherever the caller is.
  void make_ready(fiber_control& fiber) noexcept;

  /// The driver of `w`, which has had none for I/O: of the kind that `make` makes, and all workers get one.
  driver& make_driver_for_io(worker& w, driver_maker make);

  [[nodiscard]] offload_pool& offloads() noexcept { return offloads_; }
  [[nodiscard]] offload_pool& file_calls() noexcept { return file_calls_; }
  [[nodiscard]] const offload_pool& offloads() const noexcept { return offloads_; }
  [[nodiscard]] const offload_pool& file_calls() const noexcept { return file_calls_; }

  /// What runs on a worker's thread; nullopt if it sleeps, does not answer, or has no thread. Any thread; blocks for 50 ms at most.
  [[nodiscard]] std::optional<running_fiber> ask_what_runs_on(unsigned index) const noexcept;

  /// Whether fibers live and nothing that the runtime knows of will wake one. Meaningful while every worker sleeps.
  [[nodiscard]] bool waits_for_nothing() const noexcept;

  /// A worker has slept and is awake.
  void note_activity() noexcept { watchdog_.note_activity(); }
  /// Whether the watchdog has just seen a worker whose thread is stuck in a fiber.
  [[nodiscard]] bool any_stuck() const noexcept { return watchdog_.any_stuck(); }
  /// Whether the workers have fewer CPUs than they would use (crowding.hpp).
  [[nodiscard]] bool crowded() const noexcept { return watchdog_.crowded(); }
  [[nodiscard]] bool watches_cpu_times() const noexcept { return watchdog_.watches_cpu_times(); }
  /// From now on it is so, whatever is measured: for tests, and for who steps workers, whom no watchdog watches.
  void assume_crowded(bool so) noexcept { watchdog_.assume_crowded(so); }
  /// How many fibers workers have given to peers in crowds.
  [[nodiscard]] std::uint64_t given() const noexcept;
  /// Serves workers whose thread is stuck in a fiber, if there are any.
  void help_the_stuck(worker& helper) noexcept;

private:
  friend class watchdog;

  void make_ready_elsewhere(fiber_control& fiber, const worker* w) noexcept;
  void end_threads() noexcept;
  void cancel_all() noexcept;
  void inject(fiber_control& fiber) noexcept;
  [[nodiscard]] bool wait_until_ended(time_point deadline) noexcept;

  const bool stepped_;
  const std::chrono::milliseconds report_hogs_after_;
  const bool report_deadlocks_;
  const bool even_with_io_;  // not only because of how the library was built
  const bool dump_on_sigquit_;
  idle_set<> idle_;
  injection_queue<fiber_control> injection_;
  stack_pool default_stacks_;
  mutable std::mutex other_stacks_lock_;
  std::map<std::size_t, stack_pool> other_stacks_;  // by size, under the lock; never shrinks

  std::mutex drivers_lock_;
  std::vector<std::unique_ptr<driver>> drivers_;  // under the lock; all that ever were: a waker may hold an older one

  std::vector<std::unique_ptr<worker>> workers_;  // constant once made
  mutable std::mutex threads_lock_;   // of those that look at them besides `start` and `stop`
  std::vector<std::thread> threads_;  // under the lock once they run
  const std::string driver_wanted_;
  offload_pool offloads_;
  offload_pool file_calls_;  // apart: who saturates `blocking` does not hold up files
  watchdog watchdog_;
  quit_dump quit_dump_;

  std::mutex stop_lock_;  // one `stop` at a time
  const std::uint32_t made_after_forks_ = fork_count();  // next to what births and ends look at
  std::atomic<bool> exiting_{false};
  shutdown_gate<> gate_;
};

}  // namespace aramid::inline v0::detail
