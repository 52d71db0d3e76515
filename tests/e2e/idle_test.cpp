// An idle server sleeps: none of its threads wakes up in five seconds.
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "echo_fixture.hpp"

namespace aramid::e2e {
namespace {

using namespace std::chrono_literals;

/// Waits until what was going on has come to rest, then watches. A machine that is busy with something else does no harm: nobody is at rest who
/// waits for a CPU, and who sleeps is woken by the server's own doing only.
void expect_no_wake_up(const server_process& server) {
  ASSERT_TRUE(eventually([&] {
    const auto before = wake_ups_of(server.pid());
    std::this_thread::sleep_for(200ms);
    return is_asleep(server.pid()) && wake_ups_of(server.pid()) == before;
  }));
  const auto before = wake_ups_of(server.pid());
  ASSERT_FALSE(before.empty());
  std::this_thread::sleep_for(5s);
  EXPECT_EQ(wake_ups_of(server.pid()), before);
}

class idle : public on_each_driver {};

TEST_P(idle, without_connections) {
  server_process server(echo_command({"--workers", std::to_string(GetParam().workers)}), GetParam().process());
  expect_no_wake_up(server);
}

TEST_P(idle, with_silent_connections) {
  echo_under_test echo(GetParam());
  std::vector<peer> silent;
  for (int i = 0; i != 20; ++i) {
    silent.emplace_back(echo.server.port());
    ASSERT_TRUE(silent.back().echoes("hello"));
  }
  expect_no_wake_up(echo.server);
  for (peer& each : silent) {
    EXPECT_TRUE(each.echoes("it was only asleep"));
  }
}

TEST_P(idle, after_a_burst_of_load) {
  echo_under_test echo(GetParam());
  process load({ARAMID_NET_LOAD, "--quiet", "--port", std::to_string(echo.server.port()), "--connections", "64",
                "--seconds", "1", "--warmup", "0"});
  ASSERT_EQ(load.wait_exit(), 0) << load.errors();
  expect_no_wake_up(echo.server);
  EXPECT_TRUE(echo.first.echoes("it was only asleep"));
}

ARAMID_E2E_ON_EACH_DRIVER(idle);

}  // namespace
}  // namespace aramid::e2e
