// What the fake driver must not do, for all its whims: lose an operation.
#include "io/src/fake/fake_driver.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>

#include "leak_check.hpp"
#include "pending_poll.hpp"

namespace {

using namespace aramid;
using namespace std::chrono_literals;
using aramid::detail::fake_driver;
using aramid::detail::op_kind;
using aramid::detail::operation;
using aramid::test::eventfd;

class fake_driver_test : public aramid::test::leak_check {};

TEST_F(fake_driver_test, what_falls_due_on_the_way_to_sleep_is_not_slept_through) {
  // No descriptor's readiness would ever end the sleep: the call is one that blocks instead.
  fake_driver driver(1, nullptr, {.late = 1024, .interrupted = 0, .latest = 3us});
  eventfd what;
  for (int i = 0; i != 2'000; ++i) {
    parker wait;
    operation op(op_kind::sync, what.handle().number());
    op.expect(wait.token());
    driver.submit(op);
    aramid::test::poll_until_done(driver, op);
    wait.park();
    EXPECT_EQ(op.result, -EINVAL);  // of an eventfd
  }
  EXPECT_EQ(driver.in_flight(), 0U);
}

}  // namespace
