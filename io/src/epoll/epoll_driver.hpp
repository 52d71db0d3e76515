// The epoll driver, for where io_uring is refused (Docker's default seccomp profile is the common case): one epoll per worker, which peers
// may help while the worker is stuck in a fiber. Files, which are always ready for epoll, are read and written on threads that may block
// (perform.cpp).
//
// Fibers try by themselves (attempt.hpp); the driver is asked only when they have to wait, and tells registrations what has become ready
// (registration.hpp, readiness_word.hpp). So an idle connection costs a registration, a busy one the same two system calls a request as
// a plain epoll loop.
//
// Who may touch what:
//
//   interest list   Anybody, under the lock of the registration.
//   events          Whoever holds the reap lock, which peers only try. The owner keeps it while it sleeps: what a peer takes then, the
//                   owner would not be woken for; above all the doorbell's event.
//   registrations   Under their own locks, which are taken with the reap lock held, never the other way round.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string_view>

#include <aramid/detail/spin_lock.hpp>
#include <aramid/driver.hpp>

#include "../doorbell.hpp"
#include "../io_driver.hpp"

struct epoll_event;

namespace aramid::inline v0::detail {

struct registration;

class epoll_driver final : public readiness_driver {
public:
  /// Throws: std::system_error that names the call.
  epoll_driver();
  ~epoll_driver() override;

  void poll(time_point deadline, wake_batch& batch) noexcept override;
  void wake() noexcept override { doorbell_.ring(); }
  void flush() noexcept override {}
  bool help(wake_batch& batch) noexcept override;
  [[nodiscard]] std::size_t in_flight() const noexcept override { return waits_.load(std::memory_order_relaxed); }
  void drain() noexcept override;
  [[nodiscard]] std::string_view name() const noexcept override { return "epoll"; }

  [[nodiscard]] std::int32_t attempt(operation& op) noexcept override;
  void submit(operation& op) noexcept override;
  void cancel(operation& op, caller from) noexcept override;

  /// Takes `fd` out of the interest list. Under its registration's lock.
  void remove(int fd) noexcept;

private:
  /// Enters it into a list, if it is in none that tells anybody, or in another's for too long. Under its lock.
  /// Returns: 0 or -errno.
  [[nodiscard]] std::int32_t settle(registration& of, int fd) noexcept;

  // Under the reap lock.
  int wait(time_point deadline, epoll_event* events) noexcept;
  void reap(time_point deadline, wake_batch& batch, caller from) noexcept;
  void apply(const epoll_event& event, wake_batch& batch, caller from) noexcept;

  const int epoll_;
  const pid_t process_;
  doorbell doorbell_;
  spin_lock reap_lock_;
  std::atomic<std::size_t> waits_{0};  // submitted and not finished
};

}  // namespace aramid::inline v0::detail
