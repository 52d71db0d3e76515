// More connections than descriptors: those inside are served, those outside wait, nobody spins, and nobody is lost.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "echo_fixture.hpp"

namespace aramid::e2e {
namespace {

using namespace std::chrono_literals;

constexpr int limit = 64;
constexpr std::size_t crowd_size = 200;

std::string name_of(std::size_t who) { return pattern(32, who); }

/// Who spins is never asleep, or wakes up time and again: here it is the listener that looks whether a number is free, and each
/// look after the first few is a second after the one before. The watchdog's ticks, while a worker that was woken waits for a CPU, are not counted.
void expect_no_spin(const server_process& server) {
  EXPECT_TRUE(eventually([&] { return is_asleep(server.pid()); }));
  const auto sum_of_wake_ups = [&] {
    std::uint64_t sum = 0;
    for (const auto& [thread, count] : wake_ups_of(server.pid())) {
      sum += thread.find("aramid-watch") == std::string::npos ? count : 0;
    }
    return sum;
  };
  const std::uint64_t before = sum_of_wake_ups();
  std::this_thread::sleep_for(2s);
  EXPECT_TRUE(eventually([&] { return is_asleep(server.pid()); }));
  EXPECT_LT(sum_of_wake_ups() - before, 200U);  // 30, with eight workers
}

class descriptor_limit : public on_each_driver {};

TEST_P(descriptor_limit, those_outside_wait_without_a_spin_and_come_in_later) {
  ARAMID_E2E_SKIP_UNDER_UBSAN();
  echo_under_test echo(GetParam(), {}, {.descriptors = limit});
  const auto inside_at_once = static_cast<std::size_t>(limit - echo.before.descriptors);
  ASSERT_GT(inside_at_once, 8U) << echo.before.listing;

  std::vector<peer> crowd;
  for (std::size_t i = 0; i != crowd_size; ++i) {
    crowd.emplace_back(echo.server.port());
    crowd.back().send(name_of(i));
  }
  // Connections come in as they queue.
  for (std::size_t i = 0; i != inside_at_once; ++i) {
    ASSERT_TRUE(crowd[i].receive(32) == name_of(i)) << i;
  }
  EXPECT_EQ(shape_of(echo.server.pid()).descriptors, limit);

  for (std::size_t i = 0; i != inside_at_once; ++i) {
    EXPECT_TRUE(crowd[i].echoes(name_of(i)));
  }
  expect_no_spin(echo.server);
  for (std::size_t i = inside_at_once; i != crowd_size; ++i) {
    EXPECT_FALSE(crowd[i].is_readable()) << i << " is inside as well";
  }

  // As some leave, as many come in; each of them had not been lost.
  std::size_t next_in = inside_at_once;
  for (std::size_t i = 0; next_in != crowd_size; ++i) {
    crowd[i].close();
    ASSERT_TRUE(crowd[next_in].receive(32) == name_of(next_in)) << next_in;
    ++next_in;
  }
  for (std::size_t i = crowd_size - inside_at_once; i != crowd_size; ++i) {
    EXPECT_TRUE(crowd[i].echoes(name_of(i)));
  }
  crowd.clear();
  echo.expect_nothing_left();
  echo.expect_clean_exit();
}

TEST_P(descriptor_limit, those_who_gave_up_waiting_harm_nobody) {
  ARAMID_E2E_SKIP_UNDER_UBSAN();
  echo_under_test echo(GetParam(), {}, {.descriptors = limit});
  const auto inside_at_once = static_cast<std::size_t>(limit - echo.before.descriptors);
  std::vector<peer> inside;
  for (std::size_t i = 0; i != inside_at_once; ++i) {
    inside.emplace_back(echo.server.port());
    ASSERT_TRUE(inside.back().echoes(name_of(i)));
  }
  for (int i = 0; i != 30; ++i) {
    peer leaves(echo.server.port());
    peer resets(echo.server.port());
    resets.send("hello");
    resets.reset();
  }
  peer patient(echo.server.port());
  patient.send("I waited");
  inside.pop_back();
  EXPECT_EQ(patient.receive(8), "I waited");
  patient.close();
  inside.clear();
  echo.expect_nothing_left();
  echo.expect_clean_exit();
}

ARAMID_E2E_ON_EACH_DRIVER(descriptor_limit);

}  // namespace
}  // namespace aramid::e2e
