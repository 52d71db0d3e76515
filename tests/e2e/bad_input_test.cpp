// What the echo server says to what it cannot do: a message that names it, an exit code, and no hang.
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "echo_fixture.hpp"

namespace aramid::e2e {
namespace {

/// Runs the server and expects that it refuses, and that each of `words` is in what it says.
void expect_refused(const std::vector<std::string>& arguments, const std::vector<std::string>& words,
                    const process_options& options = {}) {
  process server(echo_command(arguments), options);
  const int code = server.wait_exit();
  EXPECT_GT(code, 0);
  EXPECT_LT(code, 126) << "it crashed";
  EXPECT_EQ(server.output(), "");
  for (const std::string& word : words) {
    EXPECT_NE(server.errors().find(word), std::string::npos) << "no '" << word << "' in: " << server.errors();
  }
}

TEST(bad_input, port_in_use) {
  server_process first(echo_command({}));
  const std::string port = std::to_string(first.port());
  expect_refused({"--port", port}, {"bind", "127.0.0.1:" + port, "Address already in use"});
  EXPECT_TRUE(peer(first.port()).echoes("the first one still serves"));
}

TEST(bad_input, no_permission_for_the_port) {
  int first_free = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first_free;
  if (first_free <= 1) {
    GTEST_SKIP() << "here everybody may bind port 1 (net.ipv4.ip_unprivileged_port_start)";
  }
  constexpr int cap_setpcap = 8;
  if (::geteuid() == 0 && ::prctl(PR_CAPBSET_READ, cap_setpcap, 0, 0, 0) != 1) {
    GTEST_SKIP() << "root without CAP_SETPCAP cannot give a capability up for its child";
  }
  expect_refused({"--port", "1"}, {"bind", "127.0.0.1:1", "Permission denied"}, {.may_bind_low_ports = false});
}

TEST(bad_input, host_that_is_none) {
  for (const std::string host : {"localhost", "256.0.0.1", "1.2.3", "nonsense", "127.0.0.1:80", "[::1]", ""}) {
    expect_refused({"--port", "0", "--host", host}, {"\"" + host + "\"", "not a numeric"});
  }
}

TEST(bad_input, address_of_another_machine) {
  expect_refused({"--port", "0", "--host", "203.0.113.7"}, {"bind", "203.0.113.7", "Cannot assign requested address"});
}

TEST(bad_input, port_that_is_none) {
  for (const std::string port : {"65536", "-1", "abc", "7777x", ""}) {
    expect_refused({"--port", port}, {"--port"});
  }
}

TEST(bad_input, workers_that_are_too_many_or_none) {
  expect_refused({"--port", "0", "--workers", "100000"}, {"workers", "100000", "1024"});
  for (const std::string count : {"-1", "abc", "99999999999999999999", ""}) {
    expect_refused({"--port", "0", "--workers", count}, {"--workers"});
  }
}

TEST(bad_input, grace_that_is_none) {
  for (const std::string grace : {"-1", "abc", "1e9", "inf", "nan", ""}) {
    expect_refused({"--port", "0", "--grace", grace}, {"--grace"});
  }
}

TEST(bad_input, unknown_option) { expect_refused({"--no-such-option"}, {"--no-such-option"}); }

TEST(bad_input, unexpected_word) { expect_refused({"7777"}, {"7777"}); }

TEST(bad_input, too_few_descriptors_to_start) {
  ARAMID_E2E_SKIP_UNDER_UBSAN();
  // Wherever they run out, once the program itself has been loaded: no crash and no hang.
  for (rlim_t descriptors = 6; descriptors != 16; ++descriptors) {
    process server(echo_command({"--port", "0", "--workers", "8"}), {.descriptors = descriptors});
    EXPECT_EQ(server.wait_exit(), 1) << descriptors << " descriptors: " << server.errors();
    EXPECT_NE(server.errors().find("Too many open files"), std::string::npos) << server.errors();
  }
}

TEST(good_input, help_and_every_worker_count_that_it_names) {
  process help(echo_command({"--help"}));
  EXPECT_EQ(help.wait_exit(), 0);
  EXPECT_NE(help.output().find("--workers"), std::string::npos);

  for (const int workers : scaled(1, 0, 0) != 0 ? std::vector{0, 3, 64, 1024} : std::vector{0, 3, 32}) {
    server_process server(echo_command({"--workers", std::to_string(workers)}));
    EXPECT_TRUE(peer(server.port()).echoes("hello")) << workers;
    server.signal(SIGINT);
    EXPECT_EQ(server.wait_exit(), 0) << workers << " workers: " << server.errors();
  }
}

}  // namespace
}  // namespace aramid::e2e
