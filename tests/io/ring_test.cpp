#include "io/src/uring/ring.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "io/src/uring/cancel_mailbox.hpp"
#include "io/src/doorbell.hpp"
#include "leak_check.hpp"
#include "pending_poll.hpp"

namespace {

using namespace std::chrono_literals;
using aramid::detail::cancel_mailbox;
using aramid::detail::doorbell;
using aramid::detail::ring;
using aramid::detail::ring_sizes;

class ring_test : public aramid::test::leak_check {};

void put_nop(ring& r, std::uint64_t data) {
  io_uring_sqe* const entry = r.prepare();
  ASSERT_NE(entry, nullptr);
  entry->opcode = IORING_OP_NOP;
  entry->user_data = data;
  r.publish();
}

void put_poll(ring& r, int fd, std::uint64_t data) {
  io_uring_sqe* const entry = r.prepare();
  ASSERT_NE(entry, nullptr);
  io_uring_prep_poll_add(entry, fd, POLLIN);
  entry->user_data = data;
  r.publish();
}

std::vector<std::uint64_t> reap(ring& r) {
  std::vector<std::uint64_t> data;
  r.reap([&](const io_uring_cqe& cqe) { data.push_back(cqe.user_data); });
  return data;
}

TEST_F(ring_test, published_entries_are_seen_and_submitted_by_anybody) {
  ring r({.submissions = 8, .completions = 32});
  put_nop(r, 1);
  put_nop(r, 2);
  EXPECT_EQ(r.unsubmitted(), 2U);
  EXPECT_FALSE(r.has_completions());
  std::thread peer([&] { EXPECT_EQ(r.enter(r.unsubmitted(), 0), 2); });
  peer.join();
  EXPECT_EQ(r.unsubmitted(), 0U);
  EXPECT_EQ(reap(r), (std::vector<std::uint64_t>{1, 2}));
}

TEST_F(ring_test, full_submission_queue_gives_no_entry) {
  ring r({.submissions = 2, .completions = 8});
  ASSERT_EQ(r.submission_entries(), 2U);
  put_nop(r, 1);
  put_nop(r, 2);
  EXPECT_EQ(r.prepare(), nullptr);
  EXPECT_EQ(r.enter(2, 0), 2);
  EXPECT_NE(r.prepare(), nullptr);
}

TEST_F(ring_test, overflowing_completions_are_all_there_in_order) {
  ring r({.submissions = 8, .completions = 8});
  ASSERT_EQ(r.completion_entries(), 8U);
  constexpr std::uint64_t many = 100;
  std::vector<std::uint64_t> expected;
  for (std::uint64_t i = 0; i < many; ++i) {
    while (r.prepare() == nullptr) {
      r.enter(r.unsubmitted(), 0);
    }
    put_nop(r, i);
    expected.push_back(i);
  }
  r.enter(r.unsubmitted(), 0);
  EXPECT_TRUE(r.has_overflow());
  std::vector<std::uint64_t> got;
  while (got.size() < many) {
    r.enter(0, 0);
    const auto some = reap(r);
    ASSERT_FALSE(some.empty());
    got.insert(got.end(), some.begin(), some.end());
  }
  EXPECT_EQ(got, expected);
  EXPECT_FALSE(r.has_overflow());
}

TEST_F(ring_test, wait_ends_at_the_deadline) {
  ring r({.submissions = 8, .completions = 32});
  const auto begin = aramid::clock::now();
  EXPECT_EQ(r.enter(0, 1, begin + 5ms), -ETIME);
  EXPECT_GE(aramid::clock::now() - begin, 5ms);
}

TEST_F(ring_test, cancel_from_another_thread_ends_a_poll) {
  ring r({.submissions = 8, .completions = 32});
  doorbell bell;
  put_poll(r, bell.fd(), 7);
  ASSERT_EQ(r.enter(1, 0), 1);
  std::thread peer([&] {
    EXPECT_EQ(r.cancel_now(8), -ENOENT);
    EXPECT_EQ(r.cancel_now(7), 0);
  });
  peer.join();
  r.enter(0, 1, aramid::clock::now() + 10s);
  EXPECT_EQ(reap(r), std::vector<std::uint64_t>{7});
}

TEST(doorbell, ring_before_the_sleep_prevents_it) {
  doorbell bell;
  bell.ring();
  EXPECT_FALSE(bell.begin_sleep());
  EXPECT_TRUE(bell.begin_sleep());
  bell.end_sleep();
}

TEST(doorbell, only_a_sleeper_costs_a_write) {
  doorbell bell;
  std::uint64_t count = 0;
  bell.ring();
  EXPECT_LT(::read(bell.fd(), &count, sizeof count), 0);
  EXPECT_FALSE(bell.begin_sleep());
  ASSERT_TRUE(bell.begin_sleep());
  bell.ring();
  bell.ring();
  EXPECT_EQ(::read(bell.fd(), &count, sizeof count), static_cast<ssize_t>(sizeof count));
  EXPECT_EQ(count, 1U);
  bell.end_sleep();
  // What was rung during the sleep has been taken with it.
  EXPECT_TRUE(bell.begin_sleep());
  bell.end_sleep();
}

TEST(cancel_mailbox, keeps_what_fits_and_drops_the_rest) {
  cancel_mailbox mail;
  EXPECT_TRUE(mail.empty());
  for (std::uint64_t i = 0; i < 100; ++i) {
    mail.put(i);
  }
  EXPECT_FALSE(mail.empty());
  std::vector<std::uint64_t> got;
  mail.take_all([&](std::uint64_t ticket) { got.push_back(ticket); });
  EXPECT_EQ(got.size(), 64U);
  EXPECT_EQ(got.front(), 0U);
  EXPECT_TRUE(mail.empty());
}

/// How many tasks of the whole machine wait for a disk just now, as the kernel counts them (man proc_stat).
int blocked_for_io() {
  std::ifstream stat("/proc/stat");
  for (std::string word; stat >> word;) {
    if (int number = 0; word == "procs_blocked" && stat >> number) {
      return number;
    }
  }
  throw std::runtime_error("/proc/stat has no procs_blocked");
}

/// Whether a thread of this process sleeps in the kernel (man proc_pid_status).
bool sleeps(pid_t thread) {
  std::ifstream status("/proc/self/task/" + std::to_string(thread) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("State:")) {
      return line.find('S', std::string("State:").size()) != std::string::npos;
    }
  }
  return false;
}

int least_blocked_for_io() {
  int least = std::numeric_limits<int>::max();
  for (int i = 0; i != 100; ++i) {
    std::this_thread::sleep_for(1ms);
    least = std::min(least, blocked_for_io());
  }
  return least;
}

// As top and every monitor show it. Sixteen, so that others on the machine may begin to wait for a disk meanwhile.
TEST_F(ring_test, who_sleeps_until_a_socket_is_ready_does_not_wait_for_a_disk) {
  constexpr unsigned feature_no_iowait = 1U << 17U;
  constexpr int sleepers = 16;
  if (ring r({.submissions = 8, .completions = 32}); (r.native().features & feature_no_iowait) == 0) {
    GTEST_SKIP() << "the kernel is older than 6.15";
  }
  const int before = least_blocked_for_io();
  aramid::test::eventfd end;
  std::array<std::atomic<pid_t>, sleepers> ids{};
  std::vector<std::jthread> threads;
  for (std::atomic<pid_t>& id : ids) {
    threads.emplace_back([&] {
      ring r({.submissions = 8, .completions = 32});
      put_poll(r, end.handle().number(), 1);
      id = gettid();
      EXPECT_EQ(r.enter(1, 1), 1);
    });
  }
  for (const std::atomic<pid_t>& id : ids) {
    while (id == 0 || !sleeps(id)) {
      std::this_thread::yield();
    }
  }
  const int meanwhile = least_blocked_for_io();
  end.set();
  EXPECT_LT(meanwhile, before + sleepers);
}

}  // namespace
