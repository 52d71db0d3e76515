// What io_uring's driver has besides (driver_test.cpp): io/src/uring/uring_driver.hpp.
#include "io/src/uring/uring_driver.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <optional>
#include <thread>

#include "leak_check.hpp"
#include "pending_poll.hpp"

namespace {

using namespace aramid;
using aramid::detail::descriptor_user;
using aramid::detail::op_kind;
using aramid::detail::operation;
using aramid::detail::uring_driver;
using aramid::detail::use;
using aramid::test::eventfd;
using aramid::test::pending_poll;
using aramid::test::spin_until_done;

class uring_driver_test : public aramid::test::leak_check {};

TEST_F(uring_driver_test, peer_flushes_and_reaps_for_an_owner_that_spins) {
  uring_driver driver;
  eventfd ready;
  std::atomic<bool> submitted{false};
  std::atomic<bool> done{false};
  std::thread owner([&] {
    pending_poll pending(driver, ready);  // published, never flushed by the owner
    submitted.store(true);
    spin_until_done(pending.op);
    done.store(true);
    pending.wait.park();
    driver.drain();
  });
  while (!submitted.load()) {
    std::this_thread::yield();
  }
  ready.set();
  while (!done.load()) {
    wake_batch batch;
    driver.help(batch);
    batch.commit();
    std::this_thread::yield();
  }
  owner.join();
  EXPECT_EQ(driver.helped(), 1U);
}

// The owner has flushed, so the completion waits for it to enter the kernel: the nudge.
TEST_F(uring_driver_test, peer_gets_at_a_completion_that_waits_for_a_spinning_owner) {
  uring_driver driver;
  eventfd ready;
  std::atomic<bool> submitted{false};
  std::atomic<bool> done{false};
  std::thread owner([&] {
    pending_poll pending(driver, ready);
    driver.flush();
    submitted.store(true);
    spin_until_done(pending.op);
    done.store(true);
    pending.wait.park();
    driver.drain();
  });
  while (!submitted.load()) {
    std::this_thread::yield();
  }
  ready.set();
  while (!done.load()) {
    wake_batch batch;
    driver.help(batch);
    batch.commit();
    std::this_thread::yield();
  }
  owner.join();
}

/// Four operations of one waiter, which the first to end wakes. Polls stand for the reads of a device.
struct wave {
  struct poll {
    poll(eventfd& what, park_token token) : user(what.handle(), use::shared, "test"), op(op_kind::poll, user.fd()) {
      op.flags = POLLIN;
      op.user = &user;
      op.expect(token);
    }
    descriptor_user user;
    operation op;
  };

  /// What the kernel has not been told of yet, after each submission.
  std::array<unsigned, 4> submit(uring_driver& driver, bool to_device) {
    std::array<unsigned, 4> left{};
    for (std::size_t i = 0; i != left.size(); ++i) {
      polls[i].emplace(ready[i], wait.token());
      polls[i]->op.to_device = to_device;
      driver.submit(polls[i]->op);
      left[i] = driver.queue().unsubmitted();
    }
    return left;
  }

  void set_all() {
    for (eventfd& one : ready) {
      one.set();
    }
  }

  void park_when_all_are_done(uring_driver& driver) {
    for (auto& one : polls) {
      aramid::test::poll_until_done(driver, one->op);
    }
    wait.park();
  }

  parker wait;
  std::array<eventfd, 4> ready;
  std::array<std::optional<poll>, 4> polls;
};

/// What each submission leaves for later that follows the common end of four.
std::array<unsigned, 4> left_behind_by_a_second_wave(bool to_device) {
  uring_driver driver;
  {
    wave first;
    EXPECT_EQ(first.submit(driver, to_device), (std::array<unsigned, 4>{1, 2, 3, 4}));  // after no end, all wait for the sleep
    driver.flush();
    first.set_all();
    wake_batch batch;
    driver.poll(time_point::min(), batch);  // enters the kernel if it has news, which it has of all four
    for (const auto& one : first.polls) {
      EXPECT_TRUE(one->op.is_done());
    }
    first.park_when_all_are_done(driver);
  }
  std::array<unsigned, 4> left{};
  {
    wave second;
    left = second.submit(driver, to_device);
    second.set_all();
    second.park_when_all_are_done(driver);
  }
  driver.drain();
  return left;
}

TEST_F(uring_driver_test, device_gets_the_first_of_a_wave_at_once_and_then_as_many_as_it_has) {
  // With four to come: the first; the second, as the kernel has one; two more are to be two, but the last is the sleep's.
  EXPECT_EQ(left_behind_by_a_second_wave(true), (std::array<unsigned, 4>{0, 0, 1, 2}));
}

TEST_F(uring_driver_test, what_is_for_no_device_waits_for_the_sleep) {
  EXPECT_EQ(left_behind_by_a_second_wave(false), (std::array<unsigned, 4>{1, 2, 3, 4}));
}

TEST_F(uring_driver_test, one_operation_alone_is_left_to_the_sleep) {
  uring_driver driver;
  for (int i = 0; i != 3; ++i) {
    eventfd ready;
    parker wait;
    wave::poll alone(ready, wait.token());
    alone.op.to_device = true;
    driver.submit(alone.op);
    EXPECT_EQ(driver.queue().unsubmitted(), 1U);
    ready.set();
    aramid::test::poll_until_done(driver, alone.op);
    wait.park();
  }
  driver.drain();
}

TEST_F(uring_driver_test, sizes_are_as_asked_for) {
  uring_driver driver({.sizes = {.submissions = 2, .completions = 8}, .peers_cancel = true});
  EXPECT_EQ(driver.queue().submission_entries(), 2U);
  EXPECT_EQ(driver.queue().completion_entries(), 8U);
  EXPECT_EQ(driver.name(), "io_uring");
}

}  // namespace
