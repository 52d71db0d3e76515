// aramid::barrier: nobody goes on before all have come, again and again.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include <aramid/barrier.hpp>
#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

#include "crowd.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

using barrier_test = runtime_test;
INSTANTIATE_TEST_SUITE_P(workers, barrier_test, worker_counts);

TEST_P(barrier_test, keeps_its_members_in_step) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    constexpr int members = 6;
    const int rounds = scaled(1000);
    int steps[members] = {};  // none of these is atomic: the barrier orders them
    int phases = 0;
    int torn = 0;
    barrier step(members, [&]() noexcept {
      ++phases;
      for (const int each : steps) {
        torn += each == phases ? 0 : 1;
      }
    });
    crowd all(GetParam(), which);
    for (int i = 0; i < members; ++i) {
      all.start([&, i] {
        for (int n = 1; n <= rounds; ++n) {
          ++steps[i];
          if (n % 2 == 0) {
            step.arrive_and_wait();
          } else {
            auto token = step.arrive();
            this_fiber::yield();
            step.wait(std::move(token));
          }
          // Nobody begins the phase after the next before all have come through this one.
          ASSERT_EQ(phases, n);
        }
      });
    }
    all.join();
    EXPECT_EQ(phases, rounds);
    EXPECT_EQ(torn, 0);
  }
}

TEST_P(barrier_test, does_not_wait_for_those_that_have_dropped_out) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    constexpr int members = 6;
    std::atomic<int> phases{0};
    barrier step(members, [&]() noexcept { ++phases; });
    crowd all(GetParam(), which);
    for (int i = 0; i < members; ++i) {
      all.start([&, i] {
        for (int n = 0; n < i; ++n) {
          step.arrive_and_wait();
        }
        step.arrive_and_drop();
      });
    }
    all.join();
    EXPECT_EQ(phases, members);
  }
}

TEST_P(barrier_test, one_arrives_for_many) {
  run([] {
    barrier<> step(3);
    auto token = step.arrive(2);
    auto other = spawn([&] { step.arrive_and_wait(); });
    step.wait(std::move(token));
    other.join();
    step.wait(step.arrive(3));
  });
}

TEST_P(barrier_test, the_completion_may_suspend) {
  run([] {
    int phases = 0;
    barrier step(2, [&]() noexcept {
      this_fiber::sleep_for(1ms);
      ++phases;
    });
    auto other = spawn([&] {
      step.arrive_and_wait();
      return phases;
    });
    step.arrive_and_wait();
    EXPECT_EQ(phases, 1);
    EXPECT_EQ(other.join(), 1);
  });
}

TEST_P(barrier_test, a_member_that_is_cancelled_has_not_arrived) {
  run([] {
    std::atomic<int> phases{0};
    barrier step(2, [&]() noexcept { ++phases; });
    auto waiter = spawn([&] { step.arrive_and_wait(); });
    this_fiber::sleep_for(1ms);
    waiter.cancel();
    EXPECT_THROW(waiter.join(), fiber_cancelled);
    auto token = step.arrive();
    EXPECT_EQ(phases, 0);
    step.arrive_and_drop();
    EXPECT_EQ(phases, 1);
    step.wait(std::move(token));
    step.arrive_and_wait();  // alone
    EXPECT_EQ(phases, 2);

    cancel_scope scope;
    scope.cancel();
    EXPECT_FALSE(scope.run([&] { step.arrive_and_wait(); }));
    EXPECT_EQ(phases, 2);
  });
}

TEST_P(barrier_test, an_arrival_without_a_wait_stands) {
  run([] {
    barrier<> step(2);
    auto token = step.arrive();
    auto waiter = spawn([&] { step.wait(std::move(token)); });
    this_fiber::sleep_for(1ms);
    waiter.cancel();
    EXPECT_THROW(waiter.join(), fiber_cancelled);
    step.arrive_and_wait();
    step.wait(std::move(token));  // it can be waited for again
  });
}

// Members are cancelled and come back. However often, a phase is complete when as many as are expected have come through, or dropped out.
TEST_P(barrier_test, no_phase_is_lost_between_arrival_and_cancellation) {
  const int rounds = scaled(300);
  crowd all(GetParam());
  std::minstd_rand random(1);
  for (int round = 0; round < rounds; ++round) {
    constexpr int members = 6;
    constexpr int steps = 8;
    std::atomic<int> begun{0};
    std::atomic<int> bad{0};
    std::atomic<int> most{0};  // arrivals of one member, the one with which it drops out included
    int phases = 0;
    barrier step(members, [&]() noexcept { ++phases; });
    for (int i = 0; i < members; ++i) {
      all.start([&] {
        ++begun;
        int done = 0;
        const auto drop_out = [&] {
          for (int seen = most; done + 1 > seen && !most.compare_exchange_weak(seen, done + 1);) {
          }
          step.arrive_and_drop();
        };
        try {
          for (; done < steps; ++done) {
            step.arrive_and_wait();
            bad += phases == done + 1 ? 0 : 1;
          }
        } catch (const cancelled&) {
          drop_out();
          throw;
        }
        drop_out();
      });
    }
    yield_until([&] { return begun == members; });
    for (fiber<>& each : all.fibers()) {
      if (random() % 4 == 0) {
        each.cancel();
      }
    }
    all.join();
    EXPECT_EQ(bad, 0);
    EXPECT_EQ(phases, most);
  }
}

TEST(barrier_misuse, is_refused_or_ends_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_THROW(barrier<>(-1), std::invalid_argument);
  EXPECT_DEATH((void)barrier<>(1).arrive(2), "barrier::arrive\\(2\\): this phase waits for 1");
  EXPECT_DEATH((void)barrier<>(1).arrive(0), "barrier::arrive\\(0\\): this phase waits for 1");
}

}  // namespace
}  // namespace aramid::test
