// A driver by itself: an owner that is a plain thread, and something for it to wait for.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include <gtest/gtest.h>

#include <aramid/park.hpp>

#include "io/src/descriptor.hpp"
#include "io/src/io_driver.hpp"

namespace aramid::test {

class eventfd {
public:
  eventfd() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), detail::descriptor::kind::event, {}) {}
  void set() {
    const std::uint64_t one = 1;
    ASSERT_EQ(::write(fd_.number(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  [[nodiscard]] detail::descriptor& handle() { return fd_; }

private:
  detail::descriptor fd_;
};

/// A poll of an eventfd, in flight, and the wait for it. The calling thread is the owner.
struct pending_poll {
  pending_poll(detail::io_driver& driver, eventfd& what)
      : user(what.handle(), detail::use::shared, "test"), op(detail::op_kind::poll, user.fd()) {
    op.flags = POLLIN;
    op.user = &user;
    if (driver.style == detail::io_style::readiness) {
      EXPECT_EQ(static_cast<detail::readiness_driver&>(driver).attempt(op), -EAGAIN);  // as perform does before
    }
    op.expect(wait.token());
    driver.submit(op);
  }

  parker wait;
  detail::descriptor_user user;
  detail::operation op;
};

// `op.result` may be read when `wait` has ended, not before.

/// What an owner does that never enters the kernel.
inline void spin_until_done(const detail::operation& op) {
  while (!op.is_done()) {
    for (int i = 0; i < 1000; ++i) {
      detail::std_atomics::pause();
    }
  }
}

/// What an idle owner does. A thread is woken as its completion is applied, so the batch stays
/// empty.
inline void poll_until_done(detail::io_driver& driver, const detail::operation& op) {
  wake_batch batch;
  while (!op.is_done()) {
    driver.poll(time_point::max(), batch);
  }
}

}  // namespace aramid::test
