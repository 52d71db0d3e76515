// The driver by itself: an owner that is a plain thread, and peers that are others
// (io/src/uring/uring_driver.hpp).
#include "io/src/uring/uring_driver.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>

#include "leak_check.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using aramid::detail::caller;
using aramid::detail::op_kind;
using aramid::detail::operation;
using aramid::detail::uring_driver;
using aramid::detail::uring_options;

/// Something to wait for.
class event {
public:
  event() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~event() { ::close(fd_); }
  void set() const {
    const std::uint64_t one = 1;
    ASSERT_EQ(::write(fd_, &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  [[nodiscard]] int fd() const { return fd_; }

private:
  int fd_;
};

/// A poll of an event, in flight, and the wait for it. The calling thread is the owner.
struct pending_poll {
  pending_poll(uring_driver& driver, const event& what) : op(op_kind::poll, what.fd()) {
    op.flags = POLLIN;
    op.expect(wait.token());
    driver.submit(op);
  }
  parker wait;
  operation op;
};

/// What an owner does that never enters the kernel.
void spin_until_done(const operation& op) {
  while (!op.is_done()) {
    for (int i = 0; i < 1000; ++i) {
      __builtin_ia32_pause();
    }
  }
}

/// What an idle owner does. A thread is woken as its completion is applied, so the batch stays
/// empty.
void poll_until_done(uring_driver& driver, const operation& op) {
  wake_batch batch;
  while (!op.is_done()) {
    driver.poll(time_point::max(), batch);
  }
}

class uring_driver_test : public aramid::test::leak_check {};

TEST_F(uring_driver_test, poll_reaps_and_wakes) {
  uring_driver driver;
  const event ready;
  pending_poll pending(driver, ready);
  EXPECT_EQ(driver.in_flight(), 1U);
  EXPECT_EQ(driver.submissions(), 1U);
  wake_batch batch;
  driver.poll(time_point::min(), batch);
  EXPECT_FALSE(pending.op.is_done());
  ready.set();
  poll_until_done(driver, pending.op);
  EXPECT_EQ(pending.wait.park(), wake_reason::notified);
  EXPECT_TRUE(pending.op.is_done());
  EXPECT_EQ(pending.op.result, POLLIN);
  EXPECT_EQ(driver.in_flight(), 0U);
  driver.drain();
}

TEST_F(uring_driver_test, wake_ends_the_next_or_the_present_sleep) {
  uring_driver driver;
  wake_batch batch;
  driver.wake();
  driver.wake();
  driver.poll(time_point::max(), batch);
  std::atomic<bool> stop{false};
  std::thread waker([&] {
    for (int i = 0; i < 1000; ++i) {
      driver.wake();
      std::this_thread::yield();
    }
    stop.store(true);
    driver.wake();
  });
  // A lost wake hangs here.
  while (!stop.load()) {
    driver.poll(time_point::max(), batch);
  }
  waker.join();
  driver.drain();
}

TEST_F(uring_driver_test, sleep_ends_at_the_deadline) {
  uring_driver driver;
  wake_batch batch;
  const time_point deadline = clock::now() + 5ms;
  while (clock::now() < deadline) {
    driver.poll(deadline, batch);
  }
  driver.drain();
}

TEST_F(uring_driver_test, peer_flushes_and_reaps_for_an_owner_that_spins) {
  uring_driver driver;
  const event ready;
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
  const event ready;
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

TEST_F(uring_driver_test, sleeping_owner_is_not_helped) {
  uring_driver driver;
  const event ready;
  std::atomic<bool> started{false};
  std::thread owner([&] {
    pending_poll pending(driver, ready);
    started.store(true);
    poll_until_done(driver, pending.op);
    pending.wait.park();
    driver.drain();
  });
  while (!started.load()) {
    std::this_thread::yield();
  }
  std::thread peer([&] {
    for (int i = 0; i < 1000; ++i) {
      wake_batch batch;
      driver.help(batch);
      batch.commit();
    }
  });
  std::this_thread::sleep_for(5ms);
  ready.set();
  owner.join();
  peer.join();
}

class cancelling : public aramid::test::leak_check, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Io, cancelling, ::testing::Bool(), [](const auto& param) {
  return param.param ? "by_peers_themselves" : "through_the_mailbox";
});

TEST_P(cancelling, by_the_owner) {
  uring_driver driver({.sizes = {}, .peers_cancel = GetParam()});
  const event never;
  pending_poll pending(driver, never);
  driver.cancel(pending.op, caller::owner);
  poll_until_done(driver, pending.op);
  pending.wait.park();
  EXPECT_EQ(pending.op.result, -ECANCELED);
  driver.drain();
}

TEST_P(cancelling, by_a_peer_before_the_owner_has_flushed) {
  uring_driver driver({.sizes = {}, .peers_cancel = GetParam()});
  const event never;
  pending_poll pending(driver, never);
  std::thread peer([&] { driver.cancel(pending.op, caller::peer); });
  peer.join();
  poll_until_done(driver, pending.op);
  pending.wait.park();
  EXPECT_EQ(pending.op.result, -ECANCELED);
  driver.drain();
}

TEST_P(cancelling, by_a_peer_while_the_owner_sleeps) {
  uring_driver driver({.sizes = {}, .peers_cancel = GetParam()});
  const event never;
  pending_poll pending(driver, never);
  std::thread peer([&] {
    std::this_thread::sleep_for(5ms);
    driver.cancel(pending.op, caller::peer);
  });
  poll_until_done(driver, pending.op);
  peer.join();
  pending.wait.park();
  EXPECT_EQ(pending.op.result, -ECANCELED);
  driver.drain();
}

TEST_F(uring_driver_test, drain_ends_what_is_in_flight) {
  uring_driver driver;
  const event never;
  pending_poll pending(driver, never);
  wake_batch batch;
  driver.poll(clock::now() + 1ms, batch);  // the doorbell is armed too
  driver.drain();
  EXPECT_EQ(driver.in_flight(), 0U);
  EXPECT_TRUE(pending.op.is_done());
  EXPECT_EQ(pending.op.result, -ECANCELED);
  EXPECT_EQ(pending.wait.park(), wake_reason::notified);
}

TEST_F(uring_driver_test, sizes_are_as_asked_for) {
  uring_driver driver({.sizes = {.submissions = 2, .completions = 8}, .peers_cancel = true});
  EXPECT_EQ(driver.queue().submission_entries(), 2U);
  EXPECT_EQ(driver.queue().completion_entries(), 8U);
  EXPECT_EQ(driver.name(), "io_uring");
}

}  // namespace
