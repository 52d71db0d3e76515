// Whether the driver shall hurry.
#include "runtime/src/haste.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>

namespace aramid::test {
namespace {

using namespace std::chrono_literals;
using detail::haste;

struct haste_test : ::testing::Test {
  std::optional<bool> after(std::chrono::nanoseconds time, std::chrono::nanoseconds heavy, std::uint64_t switches, std::uint64_t sleeps) {
    now += time;
    heavy_sum += heavy;
    switches_sum += switches;
    sleeps_sum += sleeps;
    return rule.note(now, heavy_sum, switches_sum, sleeps_sum);
  }

  haste rule;
  time_point now{1h};
  std::chrono::nanoseconds heavy_sum{0};
  std::uint64_t switches_sum = 0;
  std::uint64_t sleeps_sum = 0;
};

TEST_F(haste_test, where_some_compute_and_the_worker_has_time) {
  ASSERT_EQ(after(0s, 0s, 1000, 1000), false);
  EXPECT_EQ(after(200ms, 32ms, 2000, 400), true);
  EXPECT_EQ(after(200ms, 128ms, 2000, 250), true);
}

TEST_F(haste_test, not_where_nobody_computes_for_long) {
  ASSERT_EQ(after(0s, 0s, 0, 0), false);
  EXPECT_EQ(after(200ms, 2ms, 2000, 1000), false) << "a hundredth";
  EXPECT_EQ(after(200ms, 3ms, 2000, 1000), true);
  EXPECT_EQ(after(200ms, 0ms, 2000, 1000), false);
}

TEST_F(haste_test, not_where_the_worker_hardly_sleeps) {
  ASSERT_EQ(after(0s, 0s, 0, 0), false);
  EXPECT_EQ(after(200ms, 64ms, 20000, 2499), false);
  EXPECT_EQ(after(200ms, 64ms, 20000, 2500), true);
  EXPECT_EQ(after(200ms, 64ms, 20000, 0), false);
}

TEST_F(haste_test, is_judged_by_the_window) {
  ASSERT_EQ(after(0s, 0s, 0, 0), false);
  EXPECT_EQ(after(199ms, 64ms, 1000, 500), std::nullopt);
  EXPECT_EQ(after(1ms, 0ms, 0, 0), true) << "all of it";
  EXPECT_EQ(after(10s, 64ms, 1000, 500), false) << "a hundredth of a longer one is more";
}

}  // namespace
}  // namespace aramid::test
