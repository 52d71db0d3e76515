// aramid::counting_semaphore: no permit lost or doubled, order, fairness, cancellation and deadlines, between fibers and threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <random>
#include <stdexcept>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/semaphore.hpp>

#include "crowd.hpp"
#include "runtime/src/barging.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

class semaphore_test : public runtime_test {
protected:
  template <std::ptrdiff_t Max>
  static int permits_of(counting_semaphore<Max>& which) {
    int count = 0;
    while (which.try_acquire()) {
      ++count;
    }
    which.release(count);
    return count;
  }
};

INSTANTIATE_TEST_SUITE_P(workers, semaphore_test, worker_counts);

TEST_P(semaphore_test, lets_as_many_in_as_it_has_permits) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    constexpr int members = 9;
    const int rounds = scaled(2000);
    counting_semaphore<> slots(3);
    std::atomic<int> inside{0};
    std::atomic<int> worst{0};
    crowd all(GetParam(), which);
    for (int i = 0; i < members; ++i) {
      all.start([&] {
        for (int n = 0; n < rounds; ++n) {
          slots.acquire();
          const int now = ++inside;
          for (int most = worst; now > most && !worst.compare_exchange_weak(most, now);) {
          }
          this_fiber::yield();
          --inside;
          slots.release();
        }
      });
    }
    all.join();
    EXPECT_LE(worst, 3);
    EXPECT_EQ(permits_of(slots), 3);
  }
}

TEST_P(semaphore_test, as_many_as_it_has_permits_are_in_together) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    counting_semaphore<> slots(3);
    std::atomic<int> inside{0};
    crowd all(GetParam(), which);
    for (int i = 0; i < 3; ++i) {
      all.start([&] {
        slots.acquire();
        ++inside;
        yield_until([&] { return inside == 3; });  // none leaves before all are in
        slots.release();
      });
    }
    all.join();
    EXPECT_EQ(permits_of(slots), 3);
  }
}

TEST_P(semaphore_test, orders_what_was_before_the_release) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(20000);
    binary_semaphore ping(0);
    binary_semaphore pong(0);
    int ball = 0;  // not atomic: the permits order it
    crowd all(GetParam(), which);
    all.start([&] {
      for (int n = 0; n < rounds; ++n) {
        ball = n;
        ping.release();
        pong.acquire();
        ASSERT_EQ(ball, -n);
      }
    });
    all.start([&] {
      for (int n = 0; n < rounds; ++n) {
        ping.acquire();
        ASSERT_EQ(ball, n);
        ball = -n;
        pong.release();
      }
    });
    all.join();
  }
}

TEST_P(semaphore_test, a_release_of_many_wakes_as_many) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    counting_semaphore<> permits(0);
    std::atomic<int> got{0};
    crowd all(GetParam(), which);
    for (int i = 0; i < 20; ++i) {
      all.start([&] {
        permits.acquire();
        ++got;
      });
    }
    permits.release(7);
    yield_until([&] { return got == 7; });
    permits.release(0);
    permits.release(15);
    all.join();
    EXPECT_EQ(got, 20);
    EXPECT_EQ(permits_of(permits), 2);
  }
}

TEST_P(semaphore_test, try_acquire_never_fails_for_nothing) {
  run([] {
    counting_semaphore<2> permits(2);
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(permits.try_acquire());
      ASSERT_TRUE(permits.try_acquire());
      ASSERT_FALSE(permits.try_acquire());
      ASSERT_FALSE(permits.try_acquire_for(0s));
      permits.release(2);
    }
  });
}

TEST_P(semaphore_test, a_deadline_that_has_passed_still_takes_a_permit) {
  run([] {
    counting_semaphore<> permits(3);
    EXPECT_TRUE(permits.try_acquire_for(-1h));
    EXPECT_TRUE(permits.try_acquire_until(clock::now() - 1h));
    EXPECT_TRUE(permits.try_acquire_until(std::chrono::system_clock::now() - 1h));
    EXPECT_FALSE(permits.try_acquire_until(clock::now() - 1h));
  });
}

TEST_P(semaphore_test, a_timed_wait_that_fails_leaves_no_trace) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    counting_semaphore<> permits(0);
    crowd all(GetParam(), which);
    std::atomic<int> failures{0};
    for (int i = 0; i < 6; ++i) {
      all.start([&] { failures += permits.try_acquire_for(1ms) ? 0 : 1; });
    }
    all.join();
    EXPECT_EQ(failures, 6);
    permits.release(2);
    EXPECT_EQ(permits_of(permits), 2);
  }
}

TEST(semaphore_on_one_worker, wakes_in_the_order_of_the_calls) {
  run(
      [] {
        counting_semaphore<> permits(0);
        std::vector<int> order;
        std::vector<fiber<>> fibers;
        int started = 0;
        for (int i = 0; i < 10; ++i) {
          fibers.push_back(spawn([&, i] {
            ++started;
            permits.acquire();
            order.push_back(i);
            permits.release();
          }));
          // One worker: once the fiber has begun, it has run until it suspends in `acquire`.
          yield_until([&] { return started == i + 1; });
        }
        permits.release();
        for (fiber<>& each : fibers) {
          each.join();
        }
        EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
      },
      options{.workers = 1});
}

TEST(semaphore_on_one_worker, a_waiter_is_late_a_bounded_number_of_times) {
  run(
      [] {
        binary_semaphore permit(0);
        bool waits = false;
        bool had_it = false;
        auto waiter = spawn([&] {
          waits = true;
          permit.acquire();
          had_it = true;
        });
        yield_until([&] { return waits; });
        // Gives the permit and takes it back at once, so that the waiter, when it runs, finds none; then lets it run.
        int barged = 0;
        while (!had_it) {
          permit.release();
          if (permit.try_acquire()) {
            ++barged;
          }
          this_fiber::yield();
        }
        waiter.join();
        EXPECT_LE(barged, detail::patience + 1);
        EXPECT_GE(barged, 2);  // barging is allowed: the permit is not simply handed on
      },
      options{.workers = 1});
}

TEST_P(semaphore_test, a_cancelled_waiter_takes_no_permit) {
  run([] {
    counting_semaphore<> permits(0);
    std::atomic<bool> waits{false};
    auto waiter = spawn([&] {
      waits = true;
      permits.acquire();
      ADD_FAILURE() << "acquired";
    });
    yield_until([&] { return waits.load(); });
    waiter.cancel();
    EXPECT_THROW(waiter.join(), fiber_cancelled);
    permits.release();
    EXPECT_EQ(permits_of(permits), 1);
  });
}

TEST_P(semaphore_test, a_cancelled_fiber_is_told_so_though_there_is_a_permit) {
  run([] {
    counting_semaphore<> permits(1);
    int thrown = 0;
    cancel_scope scope;
    scope.cancel();
    scope.run([&] {
      try {
        permits.acquire();
      } catch (const cancelled&) {
        ++thrown;
      }
      try {
        (void)permits.try_acquire_for(1h);
      } catch (const cancelled&) {
        ++thrown;
      }
      EXPECT_TRUE(permits.try_acquire());  // no cancellation point
    });
    EXPECT_EQ(thrown, 2);
  });
}

// Every way out of a wait at once: permits one by one and many at a time, deadlines and cancellations. Each round ends with as many
// permits as it began with.
TEST_P(semaphore_test, no_permit_is_lost_between_release_and_cancellation) {
  for (const who which : {who::fibers, who::both}) {
    SCOPED_TRACE(which);
    const int rounds = scaled(300);
    counting_semaphore<> permits(3);
    crowd all(GetParam(), which);
    std::minstd_rand random(1);
    for (int round = 0; round < rounds; ++round) {
      for (int i = 0; i < 12; ++i) {
        all.start([&, i] {
          for (int n = 0; n < 10; ++n) {
            if (i % 3 != 0) {
              permits.acquire();
            } else if (!permits.try_acquire_for(std::chrono::microseconds(n))) {
              continue;
            }
            int held = 1;
            while (held < 3 && permits.try_acquire()) {
              ++held;
            }
            if (n % 4 == 0) {
              try {
                this_fiber::yield();
              } catch (const cancelled&) {
                permits.release(held);
                throw;
              }
            }
            permits.release(held);
          }
        });
      }
      for (fiber<>& each : all.fibers()) {
        if (random() % 2 == 0) {
          each.cancel();
        }
      }
      all.join();
      ASSERT_EQ(permits_of(permits), 3) << "round " << round;
    }
  }
}

// Whoever gets the permit destroys the semaphore: whoever gave it must not touch it any more.
TEST_P(semaphore_test, may_be_destroyed_by_whoever_gets_the_last_permit) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(1000, 100);
    std::atomic<int> destroyed{0};
    crowd all(GetParam(), which);
    for (int round = 0; round < rounds; ++round) {
      auto* const permit = new binary_semaphore(0);
      all.start([permit] { permit->release(); });
      all.start([permit, &destroyed] {
        permit->acquire();
        delete permit;
        ++destroyed;
      });
      if (round % 10 == 9) {
        all.join();
      }
    }
    all.join();
    EXPECT_EQ(destroyed, rounds);
  }
}

TEST(semaphore_misuse, impossible_counts_are_refused) {
  EXPECT_THROW(counting_semaphore<>(-1), std::invalid_argument);
  EXPECT_THROW(binary_semaphore(2), std::invalid_argument);
  EXPECT_THROW(counting_semaphore<0>(1), std::invalid_argument);
  EXPECT_EQ(binary_semaphore::max(), 1);
  EXPECT_NO_THROW(counting_semaphore<>(counting_semaphore<>::max()));
}

TEST(semaphore_misuse, too_many_permits_end_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(binary_semaphore(1).release(), "release\\(1\\): there would be more permits than max");
  EXPECT_DEATH(counting_semaphore<>(1).release(-1), "release\\(-1\\): a negative number");
}

}  // namespace
}  // namespace aramid::test
