// Ctrl-C and SIGTERM: the echo server stops accepting, lets its connections finish for the grace, cancels the rest, exits 0.
#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include "echo_fixture.hpp"

namespace aramid::e2e {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr const char* long_grace = "3600";

class server_shutdown : public on_each_driver {};

TEST_P(server_shutdown, without_connections) {
  for (const int number : {SIGINT, SIGTERM}) {
    server_process server(echo_command({"--workers", std::to_string(GetParam().workers), "--grace", long_grace}), GetParam().process());
    server.signal(number);
    EXPECT_EQ(server.wait_exit(), 0) << server.errors();
    EXPECT_TRUE(peer::is_refused(server.port()));
  }
}

TEST_P(server_shutdown, connections_finish_within_the_grace) {
  for (const int number : {SIGINT, SIGTERM}) {
    echo_under_test echo(GetParam(), {"--grace", long_grace});
    const std::uint16_t port = echo.server.port();
    peer working(port);
    ASSERT_TRUE(working.echoes("accepted"));  // one that still waits to be is reset when the listener goes
    const std::string bytes = pattern(1 << 20, 1);
    std::size_t sent = working.send_some(bytes);  // it is in the middle of something

    echo.server.signal(number);
    EXPECT_TRUE(eventually([&] { return peer::is_refused(port); }));
    std::string back;
    while (sent != bytes.size()) {
      back += working.receive_some();
      sent += working.send_some(std::string_view(bytes).substr(sent));
    }
    back += working.receive(bytes.size() - back.size());
    EXPECT_TRUE(back == bytes);
    EXPECT_TRUE(echo.first.echoes("nobody is in a hurry"));
    EXPECT_FALSE(echo.server.has_exited(0ms));

    working.half_close();
    EXPECT_EQ(working.receive_all(), "");
    echo.first.close();
    EXPECT_EQ(echo.server.wait_exit(), 0) << echo.server.errors();
  }
}

TEST_P(server_shutdown, the_silent_are_cancelled_after_the_grace) {
  for (const int number : {SIGINT, SIGTERM}) {
    echo_under_test echo(GetParam(), {"--grace", "0.3"});
    std::vector<peer> silent;
    for (int i = 0; i != 50; ++i) {
      silent.emplace_back(echo.server.port());
      ASSERT_TRUE(silent.back().echoes("hello"));
    }
    const auto before = steady_clock::now();
    echo.server.signal(number);
    EXPECT_TRUE(silent.front().has_ended());
    EXPECT_GE(steady_clock::now() - before, 300ms) << "it did not let them finish";
    EXPECT_EQ(echo.server.wait_exit(), 0) << echo.server.errors();
    EXPECT_EQ(echo.server.errors(), "");
    for (peer& each : silent) {
      EXPECT_TRUE(each.has_ended());
    }
  }
}

TEST_P(server_shutdown, who_does_not_read_is_cancelled_after_the_grace) {
  echo_under_test echo(GetParam(), {"--grace", "0.1"});
  peer reluctant(echo.server.port(), 4096);
  const std::string bytes = pattern(1 << 20, 1);
  for (pollfd writable{reluctant.fd(), POLLOUT, 0}; ::poll(&writable, 1, 200) > 0;) {
    (void)reluctant.send_some(bytes);
  }
  echo.server.signal(SIGINT);
  EXPECT_EQ(echo.server.wait_exit(), 0) << echo.server.errors();
}

TEST_P(server_shutdown, no_grace_at_all) {
  echo_under_test echo(GetParam(), {"--grace", "0"});
  peer silent(echo.server.port());
  ASSERT_TRUE(silent.echoes("hello"));
  echo.server.signal(SIGINT);
  EXPECT_EQ(echo.server.wait_exit(), 0) << echo.server.errors();
  EXPECT_TRUE(silent.has_ended());
}

TEST_P(server_shutdown, a_second_signal_changes_nothing) {
  echo_under_test echo(GetParam(), {"--grace", long_grace});
  const std::uint16_t port = echo.server.port();
  echo.server.signal(SIGINT);
  ASSERT_TRUE(eventually([&] { return peer::is_refused(port); }));
  for (int i = 0; i != 100; ++i) {
    echo.server.signal(i % 2 == 0 ? SIGINT : SIGTERM);
    EXPECT_TRUE(echo.first.echoes("the grace goes on"));
  }
  // One that the kernel still holds when the server takes its handlers back would end it as by default.
  ASSERT_TRUE(eventually([&] { return !has_pending_signals(echo.server.pid()); }));
  echo.first.close();
  EXPECT_EQ(echo.server.wait_exit(), 0) << echo.server.errors();
}

TEST_P(server_shutdown, under_load) {
  echo_under_test echo(GetParam(), {"--grace", "0.2"});
  process load({ARAMID_NET_LOAD, "--quiet", "--port", std::to_string(echo.server.port()), "--connections", "100",
                "--seconds", "600", "--warmup", "0", "--depth", "2", "--timeout", "20"});
  ASSERT_TRUE(
      eventually([&] { return shape_of(echo.server.pid()).descriptors >= echo.before.descriptors + 100; }));
  echo.server.signal(SIGINT);
  EXPECT_EQ(echo.server.wait_exit(), 0) << echo.server.errors();
  EXPECT_EQ(echo.server.errors(), "");
  load.wait_exit();  // what it could not connect it tries again until its timeout, a third of what is waited for here
}

TEST_P(server_shutdown, while_there_is_no_descriptor_left) {
  ARAMID_E2E_SKIP_UNDER_UBSAN();
  echo_under_test echo(GetParam(), {"--grace", "0.1"}, {.descriptors = 64});
  std::vector<peer> crowd;
  for (int i = 0; i != 100; ++i) {
    crowd.emplace_back(echo.server.port());
  }
  ASSERT_TRUE(eventually([&] { return shape_of(echo.server.pid()).descriptors == 64; }));
  echo.server.signal(SIGINT);
  EXPECT_EQ(echo.server.wait_exit(), 0) << echo.server.errors();
  for (peer& each : crowd) {
    EXPECT_TRUE(each.has_ended());
  }
}

ARAMID_E2E_ON_EACH_DRIVER(server_shutdown);

}  // namespace
}  // namespace aramid::e2e
