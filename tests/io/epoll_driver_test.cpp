// What epoll's driver has besides (driver_test.cpp): whose interest list a descriptor is in (io/src/epoll/registration.hpp).
#include "io/src/epoll/epoll_driver.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <memory>

#include "leak_check.hpp"
#include "pending_poll.hpp"

namespace {

using namespace aramid;
using aramid::detail::epoll_driver;
using aramid::test::eventfd;
using aramid::test::pending_poll;

class epoll_driver_test : public aramid::test::leak_check {
protected:
  /// Whether `driver` is told of what the wait is for. Nobody else looks.
  static bool is_told(epoll_driver& driver, pending_poll& pending) {
    wake_batch batch;
    driver.poll(time_point::min(), batch);
    return pending.op.is_done();
  }

  static void empty(eventfd& what) {
    std::uint64_t count = 0;
    ASSERT_EQ(::read(what.handle().number(), &count, sizeof count), static_cast<ssize_t>(sizeof count));
  }

  /// One wait on `driver`, which `home` is told of.
  static void wait_once(epoll_driver& driver, epoll_driver& home, eventfd& what) {
    pending_poll pending(driver, what);
    what.set();
    EXPECT_EQ(&driver == &home, is_told(driver, pending));
    EXPECT_TRUE(is_told(home, pending));
    pending.wait.park();
    EXPECT_EQ(pending.op.result, -EAGAIN);
    empty(what);
  }
};

TEST_F(epoll_driver_test, a_descriptor_moves_to_where_it_is_waited_for_again_and_again) {
  epoll_driver first;
  epoll_driver second;
  {
    eventfd what;
    wait_once(first, first, what);
    for (int i = 0; i != 7; ++i) {
      wait_once(second, first, what);
    }
    wait_once(second, second, what);
    wait_once(first, second, what);  // and from now on it is away from there
  }
  first.drain();
  second.drain();
}

TEST_F(epoll_driver_test, one_wait_at_home_makes_it_stay) {
  epoll_driver first;
  epoll_driver second;
  {
    eventfd what;
    wait_once(first, first, what);
    for (int i = 0; i != 50; ++i) {
      wait_once(i % 7 == 6 ? first : second, first, what);
    }
  }
  first.drain();
  second.drain();
}

// A fiber of another runtime waits on its own driver, in the list of one that ends.
TEST_F(epoll_driver_test, who_waits_in_the_list_of_a_driver_that_ends_tries_again_and_finds_another) {
  auto first = std::make_unique<epoll_driver>();
  epoll_driver second;
  {
    eventfd what;
    wait_once(*first, *first, what);
    pending_poll pending(second, what);
    first->drain();
    first.reset();
    EXPECT_TRUE(pending.op.is_done());
    EXPECT_EQ(pending.op.result, -EAGAIN);
    EXPECT_EQ(second.in_flight(), 0U);
    pending.wait.park();
    wait_once(second, second, what);
  }
  second.drain();
}

}  // namespace
