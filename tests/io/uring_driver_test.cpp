// What io_uring's driver has besides (driver_test.cpp): io/src/uring/uring_driver.hpp.
#include "io/src/uring/uring_driver.hpp"

#include <gtest/gtest.h>
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

#include "io/src/driver_select.hpp"
#include "leak_check.hpp"
#include "pending_poll.hpp"
#include "tcp_pair.hpp"

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

// The peer writes where a buffer lies to where the owner has read that there was none, and what orders the two may only be the kernel: for
// ThreadSanitizer's eyes.
TEST_F(uring_driver_test, peer_lends_what_an_owner_has_just_submitted) {
  uring_driver driver;
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  std::atomic<bool> done{false};
  std::thread owner([&] {
    std::array<std::byte, 100> bytes{};
    for (int round = 0; round != 50; ++round) {
      EXPECT_EQ(::send(ends[0], bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
      parker wait;
      std::array<std::optional<operation>, bytes.size()> ops;
      for (auto& op : ops) {
        op.emplace(op_kind::receive_lent, ends[1]).length = 1;
        op->expect(wait.token());
        driver.submit(*op);
        driver.flush();
      }
      for (auto& op : ops) {
        spin_until_done(*op);
      }
      wait.park();
      for (auto& op : ops) {
        EXPECT_EQ(op->result, 1);
        if (op->result > 0) {
          aramid::detail::give_back(op->lender, static_cast<std::byte*>(op->address));
        }
      }
    }
    done.store(true);
    driver.drain();
  });
  while (!done.load()) {
    wake_batch batch;
    driver.help(batch);
    batch.commit();
  }
  owner.join();
  ::close(ends[0]);
  ::close(ends[1]);
}

/// Submits so many operations of one waiter, which the first to end wakes, and waits for all. Polls stand for reads.
/// Returns: of how many the kernel had not been told, after each.
template <std::size_t Count>
std::array<unsigned, Count> left_for_later(uring_driver& driver, bool to_device = false) {
  struct poll {
    explicit poll(eventfd& what) : user(what.handle(), use::shared, "test"), op(op_kind::poll, user.fd()) {
      op.flags = POLLIN;
      op.user = &user;
    }
    descriptor_user user;
    operation op;
  };
  std::array<unsigned, Count> left{};
  parker wait;
  std::array<eventfd, Count> ready;
  std::array<std::optional<poll>, Count> polls;
  for (std::size_t i = 0; i != Count; ++i) {
    ready[i].set();
    operation& op = polls[i].emplace(ready[i]).op;
    op.to_device = to_device;
    op.expect(wait.token());
    driver.submit(op);
    left[i] = driver.queue().unsubmitted();
  }
  for (auto& one : polls) {
    aramid::test::poll_until_done(driver, one->op);
  }
  wait.park();
  return left;
}

TEST_F(uring_driver_test, what_is_for_a_device_goes_to_the_kernel_at_once) {
  uring_driver driver;
  EXPECT_EQ(left_for_later<3>(driver, true), (std::array<unsigned, 3>{0, 0, 0}));
  driver.drain();
}

TEST_F(uring_driver_test, what_is_for_no_device_waits_for_the_sleep) {
  uring_driver driver;
  EXPECT_EQ(left_for_later<3>(driver), (std::array<unsigned, 3>{1, 2, 3}));
  driver.drain();
}

TEST_F(uring_driver_test, in_a_hurry_the_kernel_is_told_at_once) {
  uring_driver driver;
  driver.hurry(true);
  EXPECT_EQ(left_for_later<9>(driver), (std::array<unsigned, 9>{}));
  EXPECT_EQ(left_for_later<3>(driver), (std::array<unsigned, 3>{}));
  driver.hurry(false);
  EXPECT_EQ(left_for_later<3>(driver), (std::array<unsigned, 3>{1, 2, 3}));
  driver.drain();
}

// What makes it so: worker::note_pace.
TEST_F(uring_driver_test, hurries_while_fibers_compute_for_long) {
  const auto hurries = [] { return dynamic_cast<uring_driver&>(*aramid::detail::current_io_driver()).hurries(); };
  aramid::run(
      [&] {
        auto [client, server] = aramid::test::make_tcp_pair();
        std::array<std::byte, 64> bytes{};
        const auto exchange = [&, &client = client, &server = server] {
          for (int i = 0; i != 16; ++i) {
            client.write_all(bytes);
            server.read_exactly(bytes);
          }
        };
        exchange();
        EXPECT_FALSE(hurries());
        while (!hurries()) {
          for (const time_point begin = clock::now(); clock::now() - begin < std::chrono::milliseconds(5);) {
          }
          exchange();
        }
        for (std::chrono::milliseconds pause(150); hurries(); pause *= 2) {
          aramid::this_fiber::sleep_for(pause);
          exchange();
        }
      },
      options{.workers = 2, .driver = "io_uring"});
}

/// Ends all that is in flight in the ring, from outside. Returns: false if the kernel knows no such call (before Linux 6.0).
bool end_all(const uring_driver& driver) {
  io_uring_sync_cancel_reg what{};
  what.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
  what.timeout = {-1, -1};
  return ::syscall(SYS_io_uring_register, driver.queue().fd(), IORING_REGISTER_SYNC_CANCEL, &what, 1) >= 0;
}

/// Whether the thread sleeps in io_uring_enter. Where the kernel does not tell, after a while.
bool sleeps_in_the_ring(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/syscall");
  std::string call;  // "running", if it is in none
  if (file >> call) {
    return call == std::to_string(SYS_io_uring_enter);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  return true;
}

// "multishot ends when F_MORE is absent, whatever the sign": the driver has one, which wakes it.
TEST_F(uring_driver_test, a_doorbell_that_the_kernel_has_let_go_of_is_armed_again) {
  uring_driver driver;
  std::atomic<pid_t> who{0};
  std::atomic<int> rounds{0};
  std::atomic<bool> stop{false};
  std::thread owner([&] {
    who = ::gettid();
    wake_batch batch;
    while (!stop) {
      driver.poll(time_point::max(), batch);
      ++rounds;
    }
    driver.drain();
  });
  const auto until_it_sleeps = [&] {
    while (who == 0 || !sleeps_in_the_ring(who)) {
      std::this_thread::yield();
    }
  };
  bool can_end_all = true;
  for (int i = 0; i != 20; ++i) {
    until_it_sleeps();
    const int before = rounds;
    can_end_all = end_all(driver);
    if (!can_end_all) {
      break;
    }
    while (rounds == before) {
      std::this_thread::yield();
    }
    until_it_sleeps();
    const int asleep = rounds;
    driver.wake();  // a lost one hangs here
    while (rounds == asleep) {
      std::this_thread::yield();
    }
  }
  stop = true;
  driver.wake();
  owner.join();
  if (!can_end_all) {
    GTEST_SKIP() << "no IORING_REGISTER_SYNC_CANCEL";
  }
}

// "a late cancel hits the next operation at the same address": here both are at one address and in one slot, and all ways of cancelling are tried.
TEST_F(uring_driver_test, a_late_cancel_does_not_hit_the_next_operation_in_its_place) {
  for (const bool peers_cancel : {true, false}) {
    uring_driver driver({.sizes = {}, .peers_cancel = peers_cancel});
    eventfd ready;
    std::optional<pending_poll> pending(std::in_place, driver, ready);
    const void* const place = &pending->op;
    const std::uint64_t former = pending->op.ticket;
    ready.set();
    aramid::test::poll_until_done(driver, pending->op);
    pending->wait.park();
    pending.reset();

    eventfd later;
    pending.emplace(driver, later);
    ASSERT_EQ(&pending->op, place);
    ASSERT_EQ(static_cast<std::uint32_t>(pending->op.ticket), static_cast<std::uint32_t>(former)) << "the slot is another's";
    ASSERT_NE(pending->op.ticket, former);
    wake_batch batch;
    driver.poll(time_point::min(), batch);  // the kernel has it
    operation late(op_kind::poll, -1);
    late.ticket = former;
    driver.cancel(late, aramid::detail::caller::owner);
    std::thread([&] { driver.cancel(late, aramid::detail::caller::peer); }).join();
    for (int i = 0; i != 5; ++i) {
      driver.poll(clock::now() + std::chrono::milliseconds(1), batch);
    }
    EXPECT_FALSE(pending->op.is_done());
    later.set();
    aramid::test::poll_until_done(driver, pending->op);
    pending->wait.park();
    EXPECT_EQ(pending->op.result, POLLIN);
    pending.reset();
    driver.drain();
  }
}

TEST_F(uring_driver_test, sizes_are_as_asked_for) {
  uring_driver driver({.sizes = {.submissions = 2, .completions = 8}, .peers_cancel = true});
  EXPECT_EQ(driver.queue().submission_entries(), 2U);
  EXPECT_EQ(driver.queue().completion_entries(), 8U);
  EXPECT_EQ(driver.name(), "io_uring");
}

}  // namespace
