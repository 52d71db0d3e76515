// What a driver is to sockets and files: the scheduler's `driver` (aramid/driver.hpp) plus how it has an operation done. Every driver that
// aramid::io makes is an `io_driver`; perform.cpp is their only caller. There are two kinds:
//
//   completion   The kernel does the operation and says so afterwards (io_uring). `submit` takes it on, and it finishes with its result.
//   readiness    The kernel says when it is worth trying (epoll). The fiber tries by itself, `attempt`; only when that would have to
//                wait is the operation submitted, and it finishes with -EAGAIN: try again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>

#include <aramid/driver.hpp>

#include "operation.hpp"

namespace aramid::inline v0::detail {

/// Where a call to a driver comes from.
enum class caller : std::uint8_t {
  owner,  ///< the worker whose driver it is
  peer,   ///< another worker of the same runtime
};

enum class io_style : std::uint8_t { completion, readiness };

class io_driver : public driver {
public:
  const io_style style;

  /// Takes `op` on: sets its home and ticket, and from here on finishes it exactly once. That may
  /// happen before the return, if the operation cannot even be queued; its result then says why.
  /// Suspends: never. Threads: the owner.
  virtual void submit(operation& op) noexcept = 0;

  /// Asks for the early end of an operation that this driver has taken on. It may miss, and may be
  /// asked again; the operation finishes with its own result in any case. `op` must not be done
  /// when the call begins (it may become so during the call, and its fiber is the caller, so it
  /// stays readable).
  /// Suspends: never. Threads: any worker of the runtime.
  virtual void cancel(operation& op, caller from) noexcept = 0;

protected:
  explicit io_driver(io_style how) noexcept : style(how) {}
};

/// A driver of the kind `readiness`.
class readiness_driver : public io_driver {
public:
  /// From `attempt`: the descriptor is ready, but there is no way to try without perhaps blocking the thread. The caller has the call made on
  /// another one.
  static constexpr std::int32_t needs_thread = std::numeric_limits<std::int32_t>::min();

  /// Does `op` now, if that needs no waiting.
  /// Returns:  the system call's result, >= 0 or -errno; -EAGAIN if it would have to wait; `needs_thread`.
  /// Suspends: never. Threads: the owner.
  [[nodiscard]] virtual std::int32_t attempt(operation& op) noexcept = 0;

  /// One more system call made for a fiber, wherever. Threads: the owner.
  void count_call() noexcept { calls_.store(calls_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }
  [[nodiscard]] std::size_t submissions() const noexcept final { return calls_.load(std::memory_order_relaxed); }

protected:
  readiness_driver() noexcept : io_driver(io_style::readiness) {}

private:
  std::atomic<std::size_t> calls_{0};  // one writer: no locked instruction
};

}  // namespace aramid::inline v0::detail
