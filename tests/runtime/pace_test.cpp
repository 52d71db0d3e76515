// How much CPU time a worker's fibers take at a time.
#include <gtest/gtest.h>

#include <chrono>

#include "runtime/src/pace.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;
using detail::pace;

TEST(pace, is_time_over_switches) {
  pace p;
  EXPECT_EQ(p.mean(), 0ns);
  p.note(640us, 64);
  EXPECT_EQ(p.mean(), 10us);
  p.note(640us, 64);
  EXPECT_EQ(p.mean(), 10us);
}

TEST(pace, follows) {
  pace p;
  p.note(640us, 64);
  p.note(128us, 64);
  EXPECT_EQ(p.mean(), 9us);
  for (int i = 0; i < 100; ++i) {
    p.note(128us, 64);
  }
  EXPECT_LT(p.mean(), 2100ns);
}

TEST(pace, fibers_that_serve_io_are_light_on_a_slow_machine_too) {
  pace p;
  p.note(64 * 12us, 64);
  p.note(64 * 4us, 64);
  EXPECT_EQ(p.mean(), 11us);
  p.note(64 * 19us, 64);
  EXPECT_EQ(p.mean(), 12us);
  EXPECT_EQ(p.heavy(), 0ns);
}

TEST(pace, a_millisecond_among_64_is_heavy_and_leaves_the_mean_alone) {
  pace p;
  p.note(64 * 4us, 64);
  EXPECT_EQ(p.heavy(), 0ns);
  p.note(63 * 4us + 1ms, 64);
  EXPECT_EQ(p.mean(), 4us);
  EXPECT_EQ(p.heavy(), 996us);
  p.note(64 * 4us, 64);
  EXPECT_EQ(p.heavy(), 996us);
}

TEST(pace, fibers_that_all_compute_are_heavy_from_the_first) {
  pace p;
  p.note(64 * 100us, 64);
  EXPECT_EQ(p.mean(), 0ns);
  EXPECT_EQ(p.heavy(), 6400us);
}

TEST(pace, a_mean_that_is_out_of_date_is_forgotten) {
  pace p;
  p.note(64 * 4us, 64);
  for (unsigned i = 0; i < pace::while_of_heavy_ones; ++i) {
    EXPECT_EQ(p.mean(), 4us);
    p.note(64 * 20us, 64);
  }
  EXPECT_EQ(p.mean(), 0us);
  const std::chrono::nanoseconds before = p.heavy();
  p.note(64 * 20us, 64);
  EXPECT_EQ(p.mean(), 20us);
  EXPECT_EQ(p.heavy(), before);
}

TEST(pace, a_light_one_between_heavy_ones_shows_that_the_mean_holds) {
  pace p;
  p.note(64 * 4us, 64);
  for (unsigned i = 0; i < 3 * pace::while_of_heavy_ones; ++i) {
    p.note(i % 8 == 0 ? 64 * 4us : 1300us, 64);
  }
  EXPECT_EQ(p.mean(), 4us);
}

}  // namespace
}  // namespace aramid::test
