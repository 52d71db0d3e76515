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

/// What the kernel has not been told of after each of three submissions of one waiter, which the first to end wakes. Polls stand for
/// the reads of a device.
std::array<unsigned, 3> left_for_later(bool to_device) {
  struct poll {
    explicit poll(eventfd& what) : user(what.handle(), use::shared, "test"), op(op_kind::poll, user.fd()) {
      op.flags = POLLIN;
      op.user = &user;
    }
    descriptor_user user;
    operation op;
  };
  std::array<unsigned, 3> left{};
  uring_driver driver;
  {
    parker wait;
    std::array<eventfd, left.size()> ready;
    std::array<std::optional<poll>, left.size()> polls;
    for (std::size_t i = 0; i != left.size(); ++i) {
      operation& op = polls[i].emplace(ready[i]).op;
      op.to_device = to_device;
      op.expect(wait.token());
      driver.submit(op);
      left[i] = driver.queue().unsubmitted();
    }
    for (eventfd& one : ready) {
      one.set();
    }
    for (auto& one : polls) {
      aramid::test::poll_until_done(driver, one->op);
    }
    wait.park();
  }
  driver.drain();
  return left;
}

TEST_F(uring_driver_test, what_is_for_a_device_goes_to_the_kernel_at_once) {
  EXPECT_EQ(left_for_later(true), (std::array<unsigned, 3>{0, 0, 0}));
}

TEST_F(uring_driver_test, what_is_for_no_device_waits_for_the_sleep) {
  EXPECT_EQ(left_for_later(false), (std::array<unsigned, 3>{1, 2, 3}));
}

TEST_F(uring_driver_test, sizes_are_as_asked_for) {
  uring_driver driver({.sizes = {.submissions = 2, .completions = 8}, .peers_cancel = true});
  EXPECT_EQ(driver.queue().submission_entries(), 2U);
  EXPECT_EQ(driver.queue().completion_entries(), 8U);
  EXPECT_EQ(driver.name(), "io_uring");
}

}  // namespace
