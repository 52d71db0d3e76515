// Runtimes: the threads that run fibers.
//
//     int main() { return aramid::run([] { … }); }      // one, for the length of a call
//
//     aramid::runtime rt;                                // or one to keep, beside a main loop of your own
//     auto f = rt.spawn([] { … });
//     f.join();
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <aramid/detail/config.hpp>
#include <aramid/detail/fiber_handle.hpp>
#include <aramid/fiber.hpp>

namespace aramid::inline v0 {

struct options {
  /// Threads that run fibers; 0: as many as the CPUs this process may use (affinity mask and cgroup quota).
  /// 1 promises: no migration, and code between two suspensions is atomic to the other fibers.
  unsigned workers = 0;
  /// Address space of a fiber's stack, guard not counted. Rounded up to a power of two, at least 16 KiB; up to 1 KiB of it stays unused.
  std::size_t stack_size_bytes = std::size_t{256} * 1024;
  /// Threads for `blocking`, at most. They are made as they are needed, and end when they have been idle for ten seconds.
  std::size_t blocking_threads = 512;
  /// What I/O goes through: "io_uring" or "epoll", and no other; "": io_uring, or where the kernel refuses that, epoll, which is logged with
  /// the reason; "fake": for tests, one that cuts reads and writes short, interrupts and delays. The environment variable ARAMID_DRIVER
  /// overrides it. Looked at when the runtime does its first I/O, which throws std::invalid_argument for any other name, and
  /// std::system_error if what was asked for is refused.
  std::string driver = {};
  /// If not 0: a fiber that keeps its thread for so long without suspending is logged, once, with its name and its stack. Costs
  /// nothing until then but a thread that looks every 2 ms while the runtime is busy. The environment variable
  /// ARAMID_REPORT_HOGS (milliseconds) turns it on for programs that leave it 0.
  std::chrono::milliseconds report_hogs_after{0};
  /// Logs, once, a second after all fibers have come to wait with nothing under way that could wake one: no timer, no I/O, no `blocking`.
  /// Unless a thread outside of the runtime is going to, that is a deadlock; the line is followed by `dump_fibers`. Always on where the
  /// library was built with ARAMID_ENABLE_ASSERT (the presets debug, asan, ubsan and tsan), as long as the runtime has done no I/O.
  bool report_deadlocks = false;
  /// Logs `dump_fibers` whenever the process gets SIGQUIT (Ctrl-\ on a terminal). While such a runtime exists the signal does nothing else.
  bool dump_on_sigquit = false;
};

/// Counters since the runtime was made, summed over its workers. Each is exact once the runtime is idle.
struct statistics {
  std::uint64_t fibers = 0;       ///< that are not done now; one that has been joined is not among them
  std::uint64_t spawned = 0;      ///< ever
  std::uint64_t switches = 0;     ///< times a worker turned to its next fiber, or found that there was none but the one it had
  std::uint64_t steals = 0;       ///< fibers taken from another worker's queues
  std::uint64_t migrations = 0;   ///< times a fiber resumed on another worker than it had suspended on
  std::uint64_t wakes = 0;        ///< sleeping workers that were woken for work
  std::uint64_t parks = 0;        ///< times a worker went to sleep
  std::uint64_t helps = 0;        ///< times a worker served the timers or the driver of one that was stuck
  std::uint64_t submissions = 0;  ///< operations handed to the kernel
  std::size_t stacks = 0;         ///< stacks that exist now, in use or pooled
  std::size_t blocking_threads = 0;  ///< threads that exist now for `blocking`, and for files where they need some
  unsigned workers = 0;
  std::string_view driver;  ///< "none" until the first I/O, then what options::driver names
};

/// Several may live at once. Made, used and destroyed from plain threads or from fibers of *other* runtimes.
class ARAMID_API runtime {
public:
  /// Starts the workers.
  /// Throws: std::invalid_argument naming the option; std::system_error if threads or memory are refused.
  explicit runtime(const options& opts = {});

  /// As `stop` without grace. Blocks the thread.
  ~runtime();

  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;

  /// As aramid::spawn, on this runtime. Threads: any. Throws: std::logic_error if it has been stopped.
  template <class Fn, class... Args>
    requires(!std::is_same_v<std::decay_t<Fn>, fiber_options>)
  fiber<detail::spawn_result<Fn, Args...>> spawn(Fn&& fn, Args&&... args) {
    return spawn(fiber_options{}, std::forward<Fn>(fn), std::forward<Args>(args)...);
  }
  template <class Fn, class... Args>
  fiber<detail::spawn_result<Fn, Args...>> spawn(const fiber_options& opts, Fn&& fn, Args&&... args) {
    return fiber<detail::spawn_result<Fn, Args...>>(
        detail::launch(core_.get(), nullptr, opts, std::forward<Fn>(fn), std::forward<Args>(args)...));
  }

  /// While it lives, the calling plain thread belongs to the runtime: aramid::spawn and I/O work on it.
  class ARAMID_API entered {
  public:
    entered(const entered&) = delete;
    entered& operator=(const entered&) = delete;
    ~entered();

  private:
    friend class runtime;
    explicit entered(detail::runtime_core* core);
    detail::runtime_core* const previous_;
  };
  [[nodiscard]] entered enter() { return entered(core_.get()); }

  /// Waits up to `grace` for all fibers to end, cancels the rest, joins them and ends the workers. Idempotent.
  /// Blocks the thread. Throws: std::logic_error if called from a fiber of this runtime.
  void stop(std::chrono::milliseconds grace = std::chrono::milliseconds{0});

  /// Threads: any.
  [[nodiscard]] statistics stats() const;

  /// As aramid::dump_fibers (dump.hpp), of this runtime. Threads: any.
  [[nodiscard]] std::string dump_fibers() const;

private:
  std::shared_ptr<detail::runtime_core> core_;
};

/// stats() of the runtime that the calling fiber runs on. Throws: std::logic_error if there is none.
[[nodiscard]] ARAMID_API statistics stats();

/// Makes a runtime, runs `fn` on a fiber of it, and returns what `fn` returns, when `fn` has returned *and* every
/// fiber it left behind has been cancelled and joined.
/// Blocks:  the calling thread.
/// Throws:  what `fn` throws; std::logic_error if called from a fiber.
template <class Fn>
auto run(Fn&& fn, const options& opts = {}) -> std::invoke_result_t<std::decay_t<Fn>&&>;

/// Where the library says what no exception can (a failure nobody joined, a driver that fell back). The default writes
/// a line to standard error; an empty function restores it. The handler may be called from any thread and must not
/// suspend or throw.
ARAMID_API void set_log_handler(std::function<void(std::string_view line)> handler);

namespace detail {
ARAMID_API void refuse_inside_fiber(const char* operation);
}

template <class Fn>
auto run(Fn&& fn, const options& opts) -> std::invoke_result_t<std::decay_t<Fn>&&> {
  detail::refuse_inside_fiber("run");
  runtime rt(opts);
  auto root = rt.spawn(fiber_options{.name = "root"}, std::forward<Fn>(fn));
  return root.join();  // then ~fiber, then ~runtime: cancels and joins whatever is left
}

}  // namespace aramid::inline v0
