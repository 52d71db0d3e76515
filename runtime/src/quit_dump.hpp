// Dumps on SIGQUIT (options::dump_on_sigquit).
//
//   1. A runtime that wants them takes a place in a table that never goes, and starts a thread that sleeps on the semaphore there. The
//      first to come installs the handler.
//   2. The handler posts every semaphore of the table that is taken (sem_post is async-signal-safe: man 7 signal-safety).
//   3. The thread logs what dump_fibers says of its runtime.
//   4. A runtime that ends posts its own semaphore and joins its thread; the last to go puts back what was there before the handler.
#pragma once

#include <cstddef>
#include <thread>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

class runtime_core;

class quit_dump {
public:
  explicit quit_dump(const runtime_core& core) noexcept : core_(core) {}
  ~quit_dump() { stop(); }

  quit_dump(const quit_dump&) = delete;
  quit_dump& operator=(const quit_dump&) = delete;

  /// Throws: std::system_error if there is no thread to be had; std::length_error if too many runtimes want this.
  void start();
  void stop() noexcept;

private:
  void run() noexcept;

  const runtime_core& core_;
  std::size_t place_ = 0;
  std::thread thread_;
};

}  // namespace aramid::inline v0::detail
