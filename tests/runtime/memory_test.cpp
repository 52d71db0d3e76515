// What a parked fiber costs, how many there can be, and that their memory is given back; stacks that overflow, with either guard.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <string>
#include <system_error>
#include <tuple>
#include <vector>

#include <aramid/channel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/park.hpp>
#include <aramid/run.hpp>

#include "mappings.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

/// KiB, from /proc/self/status.
double status_kib(const char* key) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == key) {
      double kib = 0;
      status >> kib;
      return kib;
    }
  }
  return 0;
}

#if defined(ARAMID_UNDER_UBSAN)
constexpr int many = 100'000;
#elif defined(__SANITIZE_THREAD__)  // which ends the program at 8,128 threads and fibers
constexpr int many = 100'000;
#else
constexpr int many = 1'000'000;
#endif

class memory_test : public leaves_nothing {};

TEST_F(memory_test, a_million_parked_fibers) {
  const int count = scaled(many, 1000);
  const double before_kib = status_kib("VmRSS:");
  const std::size_t mappings_before = mappings();
  const auto kib_for_each = [&] { return (status_kib("VmRSS:") - before_kib) / count; };
  aramid::run(
      [&] {
        channel<int> gate;
        int parked = 0;
        {
          std::vector<fiber<>> all;
          for (int i = 0; i != count; ++i) {
            all.push_back(spawn([&] {
              ++parked;
              (void)gate.receive();
            }));
          }
          while (parked != count) {
            this_fiber::yield();
          }
          if (!sanitized) {
            // The guards are mappings of their own on kernels without MADV_GUARD_INSTALL; the default limit is 65,530.
            EXPECT_LT(mappings() - mappings_before, 1000U);
            EXPECT_LE(kib_for_each(), 4.7);
          }
          gate.close();
          for (fiber<>& each : all) {
            each.join();
          }
        }
        EXPECT_EQ(stats().fibers, 1U);
        if (!sanitized) {
          EXPECT_LE(kib_for_each(), 0.25) << "memory of fibers that have ended is kept";
        }
      },
      options{.workers = 1});
  if (!sanitized) {
    // Eight slabs of control blocks stay (4 MiB), however many there were; and what malloc keeps, and the walk over a million touches.
    EXPECT_LE(kib_for_each() * count, 12 * 1024) << "memory of a runtime that has ended is kept";
  }
}

// A handle, a token and a joiner that belong to blocks of a slab whose memory has been given back and used again meanwhile.
TEST_F(memory_test, blocks_come_back_with_new_epochs) {
  const int count = scaled(40'000, 12'000);
  aramid::run(
      [&] {
        std::vector<park_token> old;
        for (int round = 0; round != 3; ++round) {
          channel<int> gate;
          std::vector<fiber<>> all;
          int ran = 0;
          for (int i = 0; i != count; ++i) {
            // A handle keeps the block of a fiber that has ended, and not all wait: TSan allows no more than 8,128 live ones.
            all.push_back(spawn([&, waits = i % 8 == 0] {
              parker wait;
              old.push_back(wait.token());
              (void)wait.abandon();
              ++ran;
              if (waits) {
                (void)gate.receive();
              }
            }));
          }
          ASSERT_TRUE(eventually([&] { return ran == count; }));
          for (std::size_t i = 0; i + static_cast<std::size_t>(count) < old.size(); ++i) {
            ASSERT_FALSE(claim(old[i])) << "a token of an earlier life has won a wait";
          }
          gate.close();
          for (fiber<>& each : all) {
            each.join();
          }
        }
        for (const park_token& each : old) {
          ASSERT_FALSE(claim(each));
        }
      },
      options{.workers = 1});
}

enum class guard { by_madvise, by_mprotect };

/// Uses `frames` × 4 KiB of stack.
__attribute__((noinline)) int use_stack(int frames) {
  std::array<volatile char, 4096> frame;
  frame[0] = static_cast<char>(frames);
  return frames == 0 ? frame[0] : use_stack(frames - 1) + frame[0];
}

class overflow_death_test : public ::testing::TestWithParam<std::tuple<guard, std::size_t>> {};

TEST_P(overflow_death_test, it_ends_the_program_and_names_the_fiber) {
  if (sanitized) {
    GTEST_SKIP() << "the sanitizer reports it itself";
  }
  const auto [by, size] = GetParam();
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        if (by == guard::by_mprotect) {
          setenv("ARAMID_GUARD", "mprotect", 1);
        }
        aramid::run([size = size] {
          spawn(fiber_options{.name = "deep_thought", .stack_size_bytes = size}, [size] {
            std::exit(use_stack(static_cast<int>(size / 4096) + 8) == 42 ? 1 : 0);
          }).join();
        });
      },
      "deep_thought");
}

// The memory of neighbours is given back together, and the guards between them must outlive that.
class idle_stack_death_test : public ::testing::TestWithParam<guard> {};

TEST_P(idle_stack_death_test, an_overflow_is_noticed_where_the_memory_has_been_given_back) {
  if (sanitized) {
    GTEST_SKIP() << "the sanitizer reports it itself";
  }
  const guard by = GetParam();
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        if (by == guard::by_mprotect) {
          setenv("ARAMID_GUARD", "mprotect", 1);
        }
        aramid::run(
            [] {
              // More than the pool keeps. Of those that come next, the last get what it has given back.
              for (const bool again : {false, true}) {
                channel<int> gate;
                std::vector<fiber<>> all;
                for (int i = 0; i != 1000; ++i) {
                  all.push_back(spawn(fiber_options{.name = "deep_thought"}, [&, i] {
                    if (again && i == 999) {
                      std::exit(use_stack(64 + 8) == 42 ? 1 : 0);
                    }
                    (void)gate.receive();
                  }));
                  this_fiber::yield();
                }
                gate.close();
                all.clear();
              }
            },
            options{.workers = 1});
      },
      "deep_thought");
}

INSTANTIATE_TEST_SUITE_P(guards, idle_stack_death_test, ::testing::Values(guard::by_madvise, guard::by_mprotect));

INSTANTIATE_TEST_SUITE_P(guards, overflow_death_test,
                         ::testing::Combine(::testing::Values(guard::by_madvise, guard::by_mprotect),
                                            ::testing::Values(std::size_t{16} << 10, std::size_t{64} << 10,
                                                              std::size_t{256} << 10, std::size_t{1} << 20,
                                                              std::size_t{8} << 20)),
                         [](const auto& which) {
                           return std::string(std::get<0>(which.param) == guard::by_madvise ? "madvise_" : "mprotect_") +
                                  std::to_string(std::get<1>(which.param) >> 10) + "_KiB";
                         });

class mprotect_test : public leaves_nothing {
protected:
  void SetUp() override { setenv("ARAMID_GUARD", "mprotect", 1); }
  void TearDown() override {
    unsetenv("ARAMID_GUARD");
    leaves_nothing::TearDown();
  }
};

TEST_F(mprotect_test, fibers_run_as_ever) {
  const int count = scaled(10'000, 100);
  const int sum = aramid::run([&] {
    std::vector<fiber<int>> all;
    for (int i = 0; i != count; ++i) {
      all.push_back(spawn([] {
        this_fiber::yield();
        return 1;
      }));
    }
    int ran = 0;
    for (fiber<int>& each : all) {
      ran += each.join();
    }
    return ran;
  });
  EXPECT_EQ(sum, count);
}

// A guard is a mapping of its own here, and the kernel allows 65,530: who would be one too many ends with an error that says so.
TEST_F(mprotect_test, more_fibers_than_mappings) {
  if (sanitized) {
    GTEST_SKIP() << "tens of thousands of stacks are too many for a sanitizer";
  }
  constexpr int count = 40'000;
  int refused = 0;
  int ended = 0;
  std::string why;
  aramid::run(
      [&] {
        channel<int> gate;
        std::vector<fiber<>> all;
        std::vector<bool> started(count);
        for (int i = 0; i != count; ++i) {
          all.push_back(spawn(fiber_options{.stack_size_bytes = 16384}, [&, i] {
            started[i] = true;
            (void)gate.receive();
          }));
        }
        int settled = 0;  // what has started or been refused stays so: nobody is looked at twice
        ASSERT_TRUE(eventually([&] {
          while (settled != count && (started[settled] || all[settled].done())) {
            ++settled;
          }
          return settled == count;
        }));
        gate.close();
        for (fiber<>& each : all) {
          try {
            each.join();
            ++ended;
          } catch (const std::system_error& error) {
            ++refused;
            why = error.what();
          }
        }
      },
      options{.workers = 1});
  EXPECT_EQ(ended + refused, count);
  EXPECT_GT(refused, 0);
  EXPECT_GT(ended, 20'000);
  EXPECT_NE(why.find("vm.max_map_count"), std::string::npos) << why;
}

}  // namespace
}  // namespace aramid::test
