// The echo server as its users start it, on each driver, with 1, 2 and 8 workers.
#pragma once

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "peer.hpp"
#include "server_process.hpp"

namespace aramid::e2e {

inline std::vector<std::string> echo_command(const std::vector<std::string>& arguments) {
  std::vector<std::string> command{ARAMID_ECHO_SERVER};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

inline constexpr bool under_tsan =
#if defined(__SANITIZE_THREAD__)
    true;
#else
    false;
#endif

inline constexpr bool under_asan =
#if defined(__SANITIZE_ADDRESS__)
    true;
#else
    false;
#endif

/// UBSan's vptr check probes memory through a pipe, and reports an invalid vptr where there is no descriptor left for one: a
/// server that is out of descriptors can be tested in every other build.
#if defined(ARAMID_UNDER_UBSAN)
#define ARAMID_E2E_SKIP_UNDER_UBSAN() GTEST_SKIP() << "UBSan's vptr check needs free descriptors of its own"
#else
#define ARAMID_E2E_SKIP_UNDER_UBSAN() static_cast<void>(0)
#endif

/// A count for a plain build; ThreadSanitizer's fibers cost 0.8 MB each, AddressSanitizer's a stack of their own.
constexpr int scaled(int plain, int asan, int tsan) { return under_tsan ? tsan : under_asan ? asan : plain; }

/// What a server runs on.
struct setting {
  const char* driver;
  unsigned workers;

  [[nodiscard]] process_options process(process_options more = {}) const {
    more.driver = driver;
    return more;
  }
};

inline void PrintTo(const setting& value, std::ostream* out) { *out << value.driver << ", " << value.workers << " workers"; }

/// The server, a first connection that stays open and has been served, and what the server has open then: its rings, its
/// listener, that one connection. Everything else that it opens it must close.
class echo_under_test {
public:
  explicit echo_under_test(const setting& on, const std::vector<std::string>& more = {},
                           const process_options& options = {})
      : server(command_for(on.workers, more), on.process(options)), first(server.port()) {
    EXPECT_TRUE(first.echoes("first"));
    before = shape_of(server.pid());
  }

  /// Expects that the server gets back to the descriptors and threads that it had at the start.
  void expect_nothing_left() {
    process_shape now;
    EXPECT_TRUE(eventually([&] { return (now = shape_of(server.pid())) == before; }))
        << "before:\n" << before.listing << "now:\n" << now.listing;
    EXPECT_TRUE(first.echoes("and still here"));
  }

  /// Ends it as Ctrl-C does.
  void expect_clean_exit(int signal_number = SIGINT) {
    first.close();
    server.signal(signal_number);
    EXPECT_EQ(server.wait_exit(), 0) << server.errors();
    EXPECT_EQ(server.errors(), "");
  }

  server_process server;
  peer first;
  process_shape before;

private:
  static std::vector<std::string> command_for(unsigned workers, const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"--workers", std::to_string(workers)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return echo_command(arguments);
  }
};

class on_each_driver : public ::testing::TestWithParam<setting> {};

inline std::string setting_name(const ::testing::TestParamInfo<setting>& info) {
  return std::string(info.param.driver) + "_" + std::to_string(info.param.workers) + "_workers";
}

#define ARAMID_E2E_ON_EACH_DRIVER(suite)                                                                                      \
  INSTANTIATE_TEST_SUITE_P(E2e, suite,                                                                                        \
                           ::testing::Values(aramid::e2e::setting{"io_uring", 1}, aramid::e2e::setting{"io_uring", 2},        \
                                             aramid::e2e::setting{"io_uring", 8}, aramid::e2e::setting{"epoll", 1},           \
                                             aramid::e2e::setting{"epoll", 2}, aramid::e2e::setting{"epoll", 8}),             \
                           aramid::e2e::setting_name)

}  // namespace aramid::e2e
