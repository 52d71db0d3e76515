// The echo server under net_load, which compares every byte that comes back: a thousand busy connections, ten thousand open
// ones, clients that are killed.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <regex>
#include <string>
#include <vector>

#include "echo_fixture.hpp"

namespace aramid::e2e {
namespace {

class load : public process {
public:
  load(const server_process& server, const std::string& mode, int connections,
       const std::vector<std::string>& more = {})
      : process(command_for(server, mode, connections, more)) {}

  /// A figure of the report.
  [[nodiscard]] double figure(const std::string& name) const {
    std::smatch found;
    const std::string text = output();
    return std::regex_search(text, found, std::regex("\"" + name + "\": ([0-9.]+)")) ? std::stod(found[1]) : -1;
  }

private:
  static std::vector<std::string> command_for(const server_process& server, const std::string& mode, int connections,
                                              const std::vector<std::string>& more) {
    std::vector<std::string> command{ARAMID_NET_LOAD, "--quiet",
                                     "--json",        "--port",
                                     std::to_string(server.port()),
                                     "--mode",        mode,
                                     "--connections", std::to_string(connections),
                                     "--warmup",      "0",
                                     "--timeout",     "60"};
    command.insert(command.end(), more.begin(), more.end());
    return command;
  }
};

class many_connections : public on_each_driver {};

TEST_P(many_connections, a_thousand_busy_ones_get_every_byte_back) {
  const int count = scaled(1000, 1000, 200);
  echo_under_test echo(GetParam());
  // More than the server's buffer holds, and two on the way at a time.
  load busy(echo.server, "loop", count, {"--seconds", "1", "--size", "5000", "--depth", "2"});
  ASSERT_EQ(busy.wait_exit(), 0) << busy.errors();
  EXPECT_EQ(busy.figure("connections_left"), count) << busy.output();
  EXPECT_GE(busy.figure("requests"), count) << busy.output();
  std::printf("%d connections: %.0f requests in %.2f s, p99.9 %.0f us\n", count, busy.figure("requests"),
              busy.figure("window_seconds"), busy.figure("p99_9"));
  echo.expect_nothing_left();
  echo.expect_clean_exit();
}

TEST_P(many_connections, every_one_of_them_may_be_new) {
  const int rounds = scaled(10, 5, 3);
  const int count = scaled(200, 100, 50);
  echo_under_test echo(GetParam());
  for (int round = 0; round != rounds; ++round) {
    load brief(echo.server, "hold", count);
    ASSERT_EQ(brief.wait_exit(), 0) << brief.errors();
  }
  echo.expect_nothing_left();
  echo.expect_clean_exit();
}

TEST_P(many_connections, killed_clients_leave_nothing_behind) {
  const int count = scaled(300, 300, 100);
  echo_under_test echo(GetParam());
  load killed(echo.server, "loop", count, {"--seconds", "600", "--size", "5000", "--depth", "2"});
  ASSERT_TRUE(eventually(
      [&] { return shape_of(echo.server.pid()).descriptors >= echo.before.descriptors + count; }));
  killed.signal(SIGKILL);
  EXPECT_EQ(killed.wait_exit(), 128 + SIGKILL);
  echo.expect_nothing_left();
  echo.expect_clean_exit();
}

TEST_P(many_connections, ten_thousand_are_open_at_once_and_each_is_served) {
  const int count = scaled(10000, 2000, 300);
  constexpr rlim_t rest = 100;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < static_cast<rlim_t>(count) + rest) {
    limit.rlim_max = limit.rlim_cur = static_cast<rlim_t>(count) + rest;
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
      GTEST_SKIP() << "the hard limit on descriptors (ulimit -Hn) forbids " << count << " connections";
    }
  }
  // It starts with the soft limit of a login, 1,024, and has to raise it.
  echo_under_test echo(GetParam());
  load open(echo.server, "hold", count, {"--server-pid", std::to_string(echo.server.pid())});
  ASSERT_EQ(open.wait_exit(), 0) << open.errors();
  EXPECT_EQ(open.figure("connections_left"), count) << open.output();
  EXPECT_EQ(open.figure("requests"), count) << open.output();
  EXPECT_GT(open.figure("server_bytes_per_connection"), 0) << open.output();
  std::printf("%d connections open: connected in %.2f s, a round trip on each in %.2f s\n", count,
              open.figure("connect_seconds"), open.figure("window_seconds"));
  echo.expect_nothing_left();
  echo.expect_clean_exit();
}

ARAMID_E2E_ON_EACH_DRIVER(many_connections);

}  // namespace
}  // namespace aramid::e2e
