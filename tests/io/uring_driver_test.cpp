// What io_uring's driver has besides (driver_test.cpp): io/src/uring/uring_driver.hpp.
#include "io/src/uring/uring_driver.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "leak_check.hpp"
#include "pending_poll.hpp"

namespace {

using namespace aramid;
using aramid::detail::uring_driver;
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

TEST_F(uring_driver_test, sizes_are_as_asked_for) {
  uring_driver driver({.sizes = {.submissions = 2, .completions = 8}, .peers_cancel = true});
  EXPECT_EQ(driver.queue().submission_entries(), 2U);
  EXPECT_EQ(driver.queue().completion_entries(), 8U);
  EXPECT_EQ(driver.name(), "io_uring");
}

}  // namespace
