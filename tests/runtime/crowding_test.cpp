// The rule that says whether the workers have enough CPUs, without clock and kernel.
#include <gtest/gtest.h>

#include <chrono>

#include "runtime/src/crowding.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;
using detail::cpu_times;
using detail::crowding;

constexpr cpu_times crowd{12ms, 12ms};
constexpr cpu_times room{30ms, 1ms};

/// How many windows in a row it says "crowded" for, the window of the measurement included, whatever is measured meanwhile.
unsigned windows_crowded_after(crowding& rule, const cpu_times& measured, const cpu_times& meanwhile) {
  unsigned windows = 0;
  for (bool crowded = rule.note(measured, 0ns); crowded; crowded = rule.note(meanwhile, 0ns)) {
    ++windows;
  }
  return windows;
}

TEST(crowding, threads_that_run_when_they_want_are_no_crowd) {
  crowding rule;
  for (int i = 0; i < 100; ++i) {
    ASSERT_FALSE(rule.note(room, 0ns));
  }
}

TEST(crowding, a_quarter_of_the_time_waited_is_the_bound) {
  EXPECT_FALSE(crowding().note({9ms, 3ms}, 0ns));
  EXPECT_TRUE(crowding().note({9ms, 3001us}, 0ns));
}

TEST(crowding, threads_that_hardly_run_say_nothing) {
  EXPECT_FALSE(crowding().note({0ms, 7ms}, 0ns));
  EXPECT_TRUE(crowding().note({0ms, 8ms}, 0ns));
}

TEST(crowding, lasts_for_a_while_and_is_asked_again_then) {
  crowding rule;
  EXPECT_EQ(windows_crowded_after(rule, crowd, room), crowding::shortest);
  EXPECT_FALSE(rule.note(room, 0ns));
}

TEST(crowding, lasts_the_longer_the_more_often_it_is_found_again) {
  crowding rule;
  for (unsigned expected = crowding::shortest; expected < crowding::longest; expected *= 2) {
    EXPECT_EQ(windows_crowded_after(rule, crowd, crowd), expected);
  }
  EXPECT_EQ(windows_crowded_after(rule, crowd, crowd), crowding::longest);
  EXPECT_EQ(windows_crowded_after(rule, crowd, crowd), crowding::longest);
}

TEST(crowding, begins_anew_once_there_was_room) {
  crowding rule;
  (void)windows_crowded_after(rule, crowd, crowd);
  (void)windows_crowded_after(rule, crowd, crowd);
  EXPECT_FALSE(rule.note(room, 0ns));
  EXPECT_EQ(windows_crowded_after(rule, crowd, crowd), crowding::shortest);
}

// An idle program is not asked anything: it is as crowded as before.
TEST(crowding, a_quiet_window_between_two_crowds_forgets_nothing) {
  crowding rule;
  (void)windows_crowded_after(rule, crowd, crowd);
  EXPECT_FALSE(rule.note({1ms, 1ms}, 0ns));
  EXPECT_EQ(windows_crowded_after(rule, crowd, crowd), 2 * crowding::shortest);
}

TEST(crowding, heavy_fibers_end_it_and_keep_it_from_beginning) {
  crowding rule;
  ASSERT_TRUE(rule.note(crowd, 0ns));
  EXPECT_TRUE(rule.note(crowd, crowd.ran / 2));  // a mean of two windows: a quarter or so
  EXPECT_FALSE(rule.note(crowd, crowd.ran / 2));
  for (unsigned i = 0; i < 10 * crowding::longest; ++i) {
    ASSERT_FALSE(rule.note(crowd, crowd.ran / 2)) << i;
  }
  // And when they have gone it begins, for as long as the first time.
  EXPECT_FALSE(rule.note(crowd, 0ns));
  EXPECT_FALSE(rule.note(crowd, 0ns));
  EXPECT_EQ(windows_crowded_after(rule, crowd, crowd), crowding::shortest);
}

TEST(crowding, a_few_heavy_fibers_neither_end_it_nor_keep_it_from_beginning) {
  crowding rule;
  unsigned crowded = 0;
  for (unsigned i = 0; i < 100; ++i) {
    crowded += rule.note(crowd, crowd.ran / 6) ? 1 : 0;
  }
  EXPECT_GT(crowded, 90U);
}

TEST(crowding, more_than_a_few_do_not_end_it_but_keep_it_from_beginning) {
  crowding rule;
  for (unsigned i = 0; i < 100; ++i) {
    ASSERT_FALSE(rule.note(crowd, crowd.ran * 3 / 10)) << i;
  }
  crowding begun;
  (void)begun.note(crowd, 0ns);
  for (unsigned i = 1; i < crowding::shortest; ++i) {
    ASSERT_TRUE(begun.note(crowd, crowd.ran * 3 / 10)) << i;
  }
  for (unsigned i = 0; i < 100; ++i) {
    ASSERT_FALSE(begun.note(crowd, crowd.ran * 3 / 10)) << i;
  }
}

}  // namespace
}  // namespace aramid::test
