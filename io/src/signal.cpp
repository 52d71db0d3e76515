#include <aramid/io/signal.hpp>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <stdexcept>
#include <string>

#include <aramid/driver.hpp>

#include "calls.hpp"
#include "operation.hpp"
#include "signal_table.hpp"

namespace aramid::inline v0 {

namespace detail {
namespace {

std::uint64_t checked_bits(std::span<const int> signals) {
  std::uint64_t bits = 0;
  for (const int number : signals) {
    sigset_t probe;
    sigemptyset(&probe);
    if (number < 1 || number > 64 || sigaddset(&probe, number) != 0) {
      throw std::invalid_argument("signal_set: " + std::to_string(number) + " is not a signal");
    }
    switch (number) {
      case SIGKILL:
      case SIGSTOP:
      case SIGSEGV:
      case SIGBUS:
      case SIGFPE:
      case SIGILL:
        throw std::invalid_argument("signal_set: signal " + std::to_string(number) +
                                    " cannot be waited for");
      default:
        bits |= std::uint64_t{1} << (number - 1);
    }
  }
  return bits;
}

void empty(int eventfd) noexcept {
  std::uint64_t count = 0;
  (void)!::read(eventfd, &count, sizeof count);
}

int wait_for_signal(signal_watch* watch, std::error_code& ec) {
  if (watch == nullptr) {
    throw std::logic_error("signal_set::wait: the set was moved from");
  }
  descriptor_user user(watch->handle, use::reader, "signal_set::wait");
  for (;;) {
    enter_wait();
    if (const int number = watch->take(); number != 0) {
      count_ready();
      return number;
    }
    operation op(op_kind::poll, user.fd());
    op.flags = POLLIN;
    if (const std::int32_t result = user.perform(op); result < 0) {
      ec = system_error_of(result);
      return 0;
    }
    empty(user.fd());
  }
}

}  // namespace

void signal_watch_delete::operator()(signal_watch* gone) const noexcept {
  leave_signal_table(*gone);
  delete gone;
}

}  // namespace detail

namespace io {

signal_set::signal_set(std::span<const int> signals) {
  const std::uint64_t bits = detail::checked_bits(signals);
  // Non-blocking: the handler must never wait, and emptying it finds it empty after a fork's
  // doings.
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) {
    throw std::system_error(detail::last_system_error(), "signal_set: eventfd");
  }
  std::unique_ptr<detail::signal_watch> watch;
  try {
    watch = std::make_unique<detail::signal_watch>(fd, bits);
  } catch (...) {
    ::close(fd);
    throw;
  }
  if (!detail::enter_signal_table(*watch)) {
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again),
                            "signal_set: there are too many sets");
  }
  watch_.reset(watch.release());
}

int signal_set::wait() {
  return detail::throwing("signal_set::wait", [&](std::error_code& ec) {
    return detail::wait_for_signal(watch_.get(), ec);
  });
}

int signal_set::wait(std::error_code& ec) {
  return detail::coded(ec, [&] { return detail::wait_for_signal(watch_.get(), ec); });
}

int signal_set::try_wait() noexcept { return watch_ == nullptr ? 0 : watch_->take(); }

}  // namespace io
}  // namespace aramid::inline v0
