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
  for (bool crowded = rule.note(measured); crowded; crowded = rule.note(meanwhile)) {
    ++windows;
  }
  return windows;
}

TEST(crowding, threads_that_run_when_they_want_are_no_crowd) {
  crowding rule;
  for (int i = 0; i < 100; ++i) {
    ASSERT_FALSE(rule.note(room));
  }
}

TEST(crowding, a_quarter_of_the_time_waited_is_the_bound) {
  EXPECT_FALSE(crowding().note({9ms, 3ms}));
  EXPECT_TRUE(crowding().note({9ms, 3001us}));
}

TEST(crowding, threads_that_hardly_run_say_nothing) {
  EXPECT_FALSE(crowding().note({0ms, 3ms}));
  EXPECT_TRUE(crowding().note({0ms, 4ms}));
}

TEST(crowding, lasts_for_a_while_and_is_asked_again_then) {
  crowding rule;
  EXPECT_EQ(windows_crowded_after(rule, crowd, room), crowding::shortest);
  EXPECT_FALSE(rule.note(room));
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
  EXPECT_FALSE(rule.note(room));
  EXPECT_EQ(windows_crowded_after(rule, crowd, crowd), crowding::shortest);
}

// An idle program is not asked anything: it is as crowded as before.
TEST(crowding, a_quiet_window_between_two_crowds_forgets_nothing) {
  crowding rule;
  (void)windows_crowded_after(rule, crowd, crowd);
  EXPECT_FALSE(rule.note({1ms, 1ms}));
  EXPECT_EQ(windows_crowded_after(rule, crowd, crowd), 2 * crowding::shortest);
}

TEST(crowding, heavy_fibers_end_it_for_as_long_as_it_would_have_lasted) {
  crowding rule;
  ASSERT_TRUE(rule.note(crowd));
  rule.note_heavy();
  for (unsigned i = 0; i < crowding::shortest - 1; ++i) {
    ASSERT_FALSE(rule.note(crowd)) << i;
  }
  // Asked again, and it lasts twice as long, or would.
  ASSERT_TRUE(rule.note(crowd));
  rule.note_heavy();
  for (unsigned i = 0; i < 2 * crowding::shortest - 1; ++i) {
    ASSERT_FALSE(rule.note(crowd)) << i;
  }
  EXPECT_TRUE(rule.note(crowd));
}

TEST(crowding, heavy_fibers_are_nothing_to_a_runtime_that_has_room) {
  crowding rule;
  EXPECT_FALSE(rule.note(room));
  rule.note_heavy();
  EXPECT_TRUE(rule.note(crowd));
}

}  // namespace
}  // namespace aramid::test
