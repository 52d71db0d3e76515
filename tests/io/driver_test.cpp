// What every driver owes its worker and the peers (aramid/driver.hpp, io/src/io_driver.hpp).
#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "io/src/epoll/epoll_driver.hpp"
#include "io/src/fake/fake_driver.hpp"
#include "io/src/uring/uring_driver.hpp"
#include "leak_check.hpp"
#include "pending_poll.hpp"
#include "runtime/src/futex_driver.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using aramid::detail::caller;
using aramid::detail::epoll_driver;
using aramid::detail::fake_driver;
using aramid::detail::futex_driver;
using aramid::detail::io_driver;
using aramid::detail::uring_driver;
using aramid::detail::uring_options;
using aramid::test::eventfd;
using aramid::test::pending_poll;
using aramid::test::poll_until_done;
using aramid::test::spin_until_done;

/// The fake one without what its users must bear only by asking again (perform.cpp).
constexpr fake_driver::faults bearable{.interrupted = 0, .out_of_buffers = 0, .cancels_missed = 0};

std::unique_ptr<io_driver> make_io_driver(std::string_view name) {
  if (name == "epoll") {
    return std::make_unique<epoll_driver>();
  }
  if (name == "fake") {
    return std::make_unique<fake_driver>(1, nullptr, bearable);
  }
  return std::make_unique<uring_driver>(uring_options{.sizes = {}, .peers_cancel = name == "io_uring"});
}

/// What there is to a driver when there is no I/O.
class driver_without_io : public aramid::test::leak_check, public ::testing::WithParamInterface<std::string_view> {
protected:
  void SetUp() override {
    leak_check::SetUp();
    if (GetParam() == "none") {
      driver = std::make_unique<futex_driver>();
    } else {
      driver = make_io_driver(GetParam());
    }
  }
  void TearDown() override {
    driver.reset();
    leak_check::TearDown();
  }

  std::unique_ptr<aramid::driver> driver;
};
INSTANTIATE_TEST_SUITE_P(Io, driver_without_io, ::testing::Values("none", "io_uring", "io_uring_through_the_mailbox", "epoll", "fake"),
                         [](const auto& param) { return std::string(param.param); });

class driver_alone : public aramid::test::leak_check, public ::testing::WithParamInterface<std::string_view> {
protected:
  void SetUp() override {
    leak_check::SetUp();
    driver = make_io_driver(GetParam());
  }
  void TearDown() override {
    driver.reset();
    leak_check::TearDown();
  }

  /// By the owner, who may have to poll for it.
  void expect_cancelled(pending_poll& pending) {
    poll_until_done(*driver, pending.op);
    pending.wait.park();
    // An io-wq worker that was interrupted for the cancel says -EINTR (man io_uring_cancelation).
    EXPECT_TRUE(pending.op.result == -ECANCELED || (GetParam() == "fake" && pending.op.result == -EINTR)) << pending.op.result;
    driver->drain();
  }

  [[nodiscard]] bool completes() const { return driver->style == aramid::detail::io_style::completion; }

  std::unique_ptr<io_driver> driver;
};
INSTANTIATE_TEST_SUITE_P(Io, driver_alone, ::testing::Values("io_uring", "io_uring_through_the_mailbox", "epoll", "fake"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(driver_alone, poll_reaps_and_wakes) {
  eventfd ready;
  pending_poll pending(*driver, ready);
  EXPECT_EQ(driver->in_flight(), 1U);
  wake_batch batch;
  driver->poll(time_point::min(), batch);
  EXPECT_FALSE(pending.op.is_done());
  ready.set();
  poll_until_done(*driver, pending.op);
  EXPECT_EQ(pending.wait.park(), wake_reason::notified);
  EXPECT_TRUE(pending.op.is_done());
  EXPECT_EQ(pending.op.result, completes() ? POLLIN : -EAGAIN);
  EXPECT_EQ(driver->in_flight(), 0U);
  driver->drain();
}

TEST_P(driver_without_io, wake_ends_the_next_or_the_present_sleep) {
  wake_batch batch;
  driver->wake();
  driver->wake();
  driver->poll(time_point::max(), batch);
  std::atomic<bool> stop{false};
  std::thread waker([&] {
    for (int i = 0; i < 1000; ++i) {
      driver->wake();
      std::this_thread::yield();
    }
    stop.store(true);
    driver->wake();
  });
  // A lost wake hangs here.
  while (!stop.load()) {
    driver->poll(time_point::max(), batch);
  }
  waker.join();
  driver->drain();
}

TEST_P(driver_without_io, sleep_ends_at_the_deadline) {
  wake_batch batch;
  const time_point deadline = clock::now() + 5ms;
  while (clock::now() < deadline) {
    driver->poll(deadline, batch);
  }
  driver->drain();
}

TEST_P(driver_alone, peer_reaps_for_an_owner_that_spins) {
  eventfd ready;
  std::atomic<bool> submitted{false};
  std::atomic<bool> done{false};
  std::thread owner([&] {
    pending_poll pending(*driver, ready);  // never flushed by the owner
    submitted.store(true);
    spin_until_done(pending.op);
    done.store(true);
    pending.wait.park();
    driver->drain();
  });
  while (!submitted.load()) {
    std::this_thread::yield();
  }
  ready.set();
  while (!done.load()) {
    wake_batch batch;
    driver->help(batch);
    batch.commit();
    std::this_thread::yield();
  }
  owner.join();
}

TEST_P(driver_alone, sleeping_owner_is_not_helped) {
  eventfd ready;
  std::atomic<bool> started{false};
  std::thread owner([&] {
    pending_poll pending(*driver, ready);
    started.store(true);
    poll_until_done(*driver, pending.op);
    pending.wait.park();
    driver->drain();
  });
  while (!started.load()) {
    std::this_thread::yield();
  }
  std::thread peer([&] {
    for (int i = 0; i < 1000; ++i) {
      wake_batch batch;
      driver->help(batch);
      batch.commit();
    }
  });
  std::this_thread::sleep_for(5ms);
  ready.set();
  owner.join();
  peer.join();
}

TEST_P(driver_alone, cancelled_by_the_owner) {
  eventfd never;
  pending_poll pending(*driver, never);
  driver->cancel(pending.op, caller::owner);
  expect_cancelled(pending);
}

TEST_P(driver_alone, cancelled_by_a_peer_before_the_owner_has_flushed) {
  eventfd never;
  pending_poll pending(*driver, never);
  std::thread peer([&] { driver->cancel(pending.op, caller::peer); });
  peer.join();
  expect_cancelled(pending);
}

TEST_P(driver_alone, cancelled_by_a_peer_while_the_owner_sleeps) {
  eventfd never;
  pending_poll pending(*driver, never);
  std::thread peer([&] {
    std::this_thread::sleep_for(5ms);
    driver->cancel(pending.op, caller::peer);
    driver->wake();  // one that finishes it in the call has no need to, since whoever waits for it is the caller
  });
  expect_cancelled(pending);
  peer.join();
}

TEST_P(driver_alone, drain_ends_what_is_in_flight) {
  eventfd never;
  pending_poll pending(*driver, never);
  wake_batch batch;
  driver->poll(clock::now() + 1ms, batch);  // the doorbell is armed too
  driver->drain();
  EXPECT_EQ(driver->in_flight(), 0U);
  EXPECT_TRUE(pending.op.is_done());
  EXPECT_EQ(pending.op.result, completes() ? -ECANCELED : -EAGAIN);
  EXPECT_EQ(pending.wait.park(), wake_reason::notified);
}

}  // namespace
