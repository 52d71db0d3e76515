// What the fake driver must not do, for all its whims: lose an operation.
#include "io/src/fake/fake_driver.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <set>
#include <string>

#include "leak_check.hpp"
#include "pending_poll.hpp"

namespace {

using namespace aramid;
using namespace std::chrono_literals;
using aramid::detail::descriptor;
using aramid::detail::descriptor_user;
using aramid::detail::fake_driver;
using aramid::detail::op_kind;
using aramid::detail::operation;
using aramid::detail::use;
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

class fake_driver_on_a_socket : public fake_driver_test {
protected:
  void SetUp() override {
    fake_driver_test::SetUp();
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    here.emplace(ends[0], descriptor::kind::socket, aramid::detail::runtime_ref());
    there.emplace(ends[1], descriptor::kind::socket, aramid::detail::runtime_ref());
  }
  void TearDown() override {
    here.reset();
    there.reset();
    fake_driver_test::TearDown();
  }

  std::optional<descriptor> here, there;
};

TEST_F(fake_driver_on_a_socket, a_message_is_cut_short_anywhere_and_described_as_before) {
  fake_driver driver(1, nullptr, {.late = 0, .withheld = 0, .cut_short = 1024, .interrupted = 0});
  const std::string text = "one and another, and a third";
  std::set<std::size_t> ends;
  for (int i = 0; i != 1'000; ++i) {
    std::string sent = text;
    std::array<iovec, 3> pieces{iovec{sent.data(), 3}, iovec{sent.data() + 3, 1}, iovec{sent.data() + 4, sent.size() - 4}};
    msghdr header{};
    header.msg_iov = pieces.data();
    header.msg_iovlen = pieces.size();
    parker wait;
    descriptor_user user(*here, use::writer, "test");
    operation op(op_kind::send_message, user.fd());
    op.address = &header;
    op.length = 1;
    op.user = &user;
    op.expect(wait.token());
    driver.submit(op);
    aramid::test::poll_until_done(driver, op);
    wait.park();
    ASSERT_GT(op.result, 0);
    const auto count = static_cast<std::size_t>(op.result);
    ends.insert(count);
    std::string got(text.size() + 1, '\0');
    ASSERT_EQ(::recv(there->number(), got.data(), got.size(), 0), static_cast<ssize_t>(count));
    EXPECT_EQ(got.substr(0, count), text.substr(0, count));
    EXPECT_EQ(header.msg_iovlen, pieces.size());
    EXPECT_EQ(pieces[0].iov_len + pieces[1].iov_len + pieces[2].iov_len, text.size());
  }
  EXPECT_EQ(ends.size(), text.size() - 1) << "of every length but the whole";
}

TEST_F(fake_driver_on_a_socket, what_is_done_and_withheld_is_not_undone_by_a_cancel) {
  fake_driver driver(1, nullptr, {.late = 0, .withheld = 1024, .cut_short = 0, .interrupted = 0, .cancels_missed = 0, .latest = 1s});
  parker wait;
  descriptor_user user(*here, use::reader, "test");
  char got = 0;
  operation op(op_kind::receive, user.fd());
  op.address = &got;
  op.length = 1;
  op.user = &user;
  op.expect(wait.token());
  ASSERT_EQ(::send(there->number(), "x", 1, 0), 1);
  driver.submit(op);
  wake_batch batch;
  driver.poll(time_point::min(), batch);
  EXPECT_FALSE(op.is_done());
  EXPECT_EQ(got, 'x');
  driver.cancel(op, aramid::detail::caller::owner);
  driver.poll(time_point::min(), batch);
  driver.drain();
  EXPECT_TRUE(op.is_done());
  wait.park();
  EXPECT_EQ(op.result, 1);
}

}  // namespace
