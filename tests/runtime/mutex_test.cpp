// aramid::mutex: exclusion, order, fairness, cancellation and deadlines, between fibers and threads.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <random>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/mutex.hpp>
#include <aramid/run.hpp>

#include "crowd.hpp"
#include "runtime/src/barging.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

class mutex_test : public runtime_test {
protected:
  static bool is_free(mutex& which) {
    const bool got = which.try_lock();
    if (got) {
      which.unlock();
    }
    return got;
  }
};

INSTANTIATE_TEST_SUITE_P(workers, mutex_test, worker_counts);

TEST_P(mutex_test, lets_one_in_at_a_time) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    constexpr int members = 8;
    const int rounds = scaled(20000);
    mutex lock;
    long total = 0;  // not atomic: the mutex orders it
    crowd all(GetParam(), which);
    for (int i = 0; i < members; ++i) {
      all.start([&] {
        for (int n = 0; n < rounds; ++n) {
          const std::lock_guard guard(lock);
          ++total;
        }
      });
    }
    all.join();
    EXPECT_EQ(total, long{members} * rounds);
    EXPECT_TRUE(is_free(lock));
  }
}

TEST_P(mutex_test, stays_locked_across_suspensions) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(2000);
    mutex lock;
    int inside = 0;
    int worst = 0;
    crowd all(GetParam(), which);
    for (int i = 0; i < 6; ++i) {
      all.start([&] {
        for (int n = 0; n < rounds; ++n) {
          const std::lock_guard guard(lock);
          worst = std::max(worst, ++inside);
          this_fiber::yield();
          --inside;
        }
      });
    }
    all.join();
    EXPECT_EQ(worst, 1);
    EXPECT_EQ(inside, 0);
  }
}

TEST_P(mutex_test, works_with_the_guards_of_std) {
  run([] {
    mutex a;
    mutex b;
    {
      const std::scoped_lock both(a, b);
      EXPECT_FALSE(a.try_lock());
      EXPECT_FALSE(b.try_lock());
    }
    std::unique_lock<mutex> guard(a, std::try_to_lock);
    EXPECT_TRUE(guard.owns_lock());
    guard.unlock();
    EXPECT_TRUE(guard.try_lock_for(1h));
    std::unique_lock<mutex> second(a, std::chrono::system_clock::now() - 1h);
    EXPECT_FALSE(second.owns_lock());
  });
}

TEST_P(mutex_test, opposite_orders_under_scoped_lock_do_not_deadlock) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(5000);
    mutex a;
    mutex b;
    long total = 0;
    crowd all(GetParam(), which);
    for (int i = 0; i < 4; ++i) {
      all.start([&, i] {
        for (int n = 0; n < rounds; ++n) {
          const std::scoped_lock both(i % 2 == 0 ? a : b, i % 2 == 0 ? b : a);
          ++total;
        }
      });
    }
    all.join();
    EXPECT_EQ(total, 4L * rounds);
  }
}

TEST_P(mutex_test, try_lock_never_suspends_and_never_fails_for_nothing) {
  run([] {
    mutex lock;
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(lock.try_lock());
      ASSERT_FALSE(lock.try_lock());
      lock.unlock();
    }
  });
}

TEST_P(mutex_test, a_deadline_that_has_passed_still_takes_a_free_lock) {
  run([] {
    mutex lock;
    ASSERT_TRUE(lock.try_lock_for(0s));
    lock.unlock();
    ASSERT_TRUE(lock.try_lock_until(clock::now() - 1h));
    lock.unlock();
    ASSERT_TRUE(lock.try_lock_until(time_point::min()));
    lock.unlock();
    ASSERT_TRUE(lock.try_lock_for(std::chrono::hours::max()));
    lock.unlock();
    ASSERT_TRUE(lock.try_lock_for(std::chrono::duration<double>(1e30)));
    lock.unlock();
  });
}

TEST_P(mutex_test, a_timed_wait_that_fails_leaves_no_trace) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    mutex lock;
    lock.lock();
    crowd all(GetParam(), which);
    std::atomic<int> failures{0};
    for (int i = 0; i < 6; ++i) {
      all.start([&] { failures += lock.try_lock_for(1ms) ? 0 : 1; });
    }
    all.join();
    EXPECT_EQ(failures, 6);
    lock.unlock();
    EXPECT_TRUE(is_free(lock));
  }
}

TEST_P(mutex_test, a_timed_wait_gets_a_lock_that_is_let_go) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    mutex lock;
    lock.lock();
    crowd all(GetParam(), which);
    std::atomic<int> successes{0};
    for (int i = 0; i < 6; ++i) {
      all.start([&] {
        if (lock.try_lock_for(24h)) {
          ++successes;
          lock.unlock();
        }
      });
    }
    lock.unlock();
    all.join();
    EXPECT_EQ(successes, 6);
  }
}

TEST(mutex_on_one_worker, wakes_in_the_order_of_the_calls) {
  run(
      [] {
        mutex lock;
        lock.lock();
        std::vector<int> order;
        std::vector<fiber<>> fibers;
        int started = 0;
        for (int i = 0; i < 10; ++i) {
          fibers.push_back(spawn([&, i] {
            ++started;
            const std::lock_guard guard(lock);
            order.push_back(i);
          }));
          // One worker: once the fiber has begun, it has run until it suspends in `lock`.
          yield_until([&] { return started == i + 1; });
        }
        lock.unlock();
        for (fiber<>& each : fibers) {
          each.join();
        }
        EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
      },
      options{.workers = 1});
}

TEST(mutex_on_one_worker, a_waiter_loses_a_bounded_number_of_times) {
  run(
      [] {
        mutex lock;
        lock.lock();
        bool waits = false;
        bool had_it = false;
        auto waiter = spawn([&] {
          waits = true;
          const std::lock_guard guard(lock);
          had_it = true;
        });
        yield_until([&] { return waits; });
        // Lets go and comes back at once, so that the waiter, when it runs, finds the lock taken; then lets it run.
        int barged = 0;
        while (!had_it) {
          lock.unlock();
          lock.lock();
          ++barged;
          this_fiber::yield();
        }
        lock.unlock();
        waiter.join();
        EXPECT_LE(barged, detail::patience + 1);
        EXPECT_GE(barged, 2);  // barging is allowed: the lock is not simply handed on
      },
      options{.workers = 1});
}

TEST_P(mutex_test, a_hog_starves_nobody) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    mutex lock;
    std::atomic<int> waiting{4};
    crowd all(GetParam(), which);
    for (int i = 0; i < 2; ++i) {
      all.start([&] {  // a hog: has the lock nearly all the time, until everybody else has had it
        while (waiting.load() != 0) {
          const std::lock_guard guard(lock);
          for (int n = 0; n < 10; ++n) {
            this_fiber::yield();
          }
        }
      });
    }
    for (int i = 0; i < 4; ++i) {
      all.start([&] {
        for (int n = 0; n < 20; ++n) {
          const std::lock_guard guard(lock);
        }
        --waiting;
      });
    }
    all.join();
    EXPECT_EQ(waiting, 0);
  }
}

TEST_P(mutex_test, a_cancelled_waiter_does_not_hold_the_lock) {
  run([] {
    mutex lock;
    lock.lock();
    std::atomic<bool> waits{false};
    bool caught = false;
    auto waiter = spawn([&] {
      waits = true;
      try {
        lock.lock();
      } catch (const cancelled&) {
        caught = true;
        throw;
      }
      lock.unlock();
    });
    yield_until([&] { return waits.load(); });
    waiter.cancel();
    EXPECT_THROW(waiter.join(), fiber_cancelled);
    EXPECT_TRUE(caught);
    lock.unlock();
    EXPECT_TRUE(is_free(lock));
  });
}

TEST_P(mutex_test, a_cancelled_fiber_is_told_so_before_it_locks_anything) {
  run([] {
    mutex lock;
    std::atomic<bool> go{false};
    int thrown = 0;
    auto doomed = spawn([&] {
      while (!go) {
        try {
          this_fiber::yield();
        } catch (const cancelled&) {
          break;  // level-triggered: what follows throws again
        }
      }
      try {
        lock.lock();
      } catch (const cancelled&) {
        ++thrown;
      }
      try {
        (void)lock.try_lock_for(1h);
      } catch (const cancelled&) {
        ++thrown;
      }
      EXPECT_TRUE(lock.try_lock());  // no cancellation point
      lock.unlock();
    });
    this_fiber::yield();
    doomed.cancel();
    go = true;
    try {
      doomed.join();
    } catch (const fiber_cancelled&) {
      thrown = 2;  // killed before it began
    }
    EXPECT_EQ(thrown, 2);
    EXPECT_TRUE(is_free(lock));
  });
}

TEST_P(mutex_test, cancelling_one_waiter_does_not_stop_the_next) {
  run([] {
    mutex lock;
    lock.lock();
    std::atomic<int> waits{0};
    std::atomic<int> got{0};
    std::vector<fiber<>> fibers;
    for (int i = 0; i < 10; ++i) {
      fibers.push_back(spawn([&] {
        ++waits;
        const std::lock_guard guard(lock);
        ++got;
      }));
    }
    yield_until([&] { return waits.load() == 10; });
    for (std::size_t i = 0; i < fibers.size(); i += 2) {
      fibers[i].cancel();
    }
    lock.unlock();
    int cancelled = 0;
    for (fiber<>& each : fibers) {
      try {
        each.join();
      } catch (const fiber_cancelled&) {
        ++cancelled;
      }
    }
    EXPECT_EQ(got + cancelled, 10);
    EXPECT_GE(got, 5);
    EXPECT_TRUE(is_free(lock));
  });
}

// Every way out of a wait at once: owners, hand-overs, deadlines and cancellations. A lock that were lost would hang
// the next round; one that were doubled would break `inside` or `total`.
TEST_P(mutex_test, nothing_is_lost_between_hand_over_and_cancellation) {
  for (const who which : {who::fibers, who::both}) {
    SCOPED_TRACE(which);
    const int rounds = scaled(300);
    mutex lock;
    std::atomic<long> entered{0};
    long total = 0;
    int inside = 0;
    bool overlap = false;
    crowd all(GetParam(), which);
    std::minstd_rand random(1);
    for (int round = 0; round < rounds; ++round) {
      for (int i = 0; i < 12; ++i) {
        all.start([&, i] {
          for (int n = 0; n < 10; ++n) {
            std::unique_lock<mutex> guard(lock, std::defer_lock);
            if (i % 3 != 0) {
              guard.lock();
            } else if (!guard.try_lock_for(std::chrono::microseconds(n))) {
              continue;
            }
            overlap = overlap || ++inside != 1;
            ++total;
            ++entered;
            if (n % 4 == 0 && !this_fiber::cancel_requested()) {
              try {
                this_fiber::yield();
              } catch (const cancelled&) {
                --inside;
                throw;
              }
            }
            --inside;
          }
        });
      }
      for (fiber<>& each : all.fibers()) {
        if (random() % 2 == 0) {
          each.cancel();
        }
      }
      all.join();
      ASSERT_TRUE(is_free(lock)) << "round " << round;
    }
    EXPECT_FALSE(overlap);
    EXPECT_EQ(total, entered);
  }
}

// The last owner destroys the mutex as soon as it has unlocked: the one before must not touch it any more.
TEST_P(mutex_test, may_be_destroyed_by_the_next_owner) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    struct shared {
      mutex lock;
      int users = 3;
    };
    const int rounds = scaled(1000, 100);
    std::atomic<int> destroyed{0};
    crowd all(GetParam(), which);
    for (int round = 0; round < rounds; ++round) {
      auto* const object = new shared;
      for (int i = 0; i < 3; ++i) {
        all.start([object, &destroyed] {
          object->lock.lock();
          const bool last = --object->users == 0;
          object->lock.unlock();
          if (last) {
            delete object;
            ++destroyed;
          }
        });
      }
      if (round % 10 == 9) {
        all.join();
      }
    }
    all.join();
    EXPECT_EQ(destroyed, rounds);
  }
}

TEST(mutex_misuse, unlocking_what_is_not_locked_ends_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        mutex lock;
        lock.unlock();
      },
      "mutex::unlock: the mutex is not locked");
}

constinit mutex at_namespace_scope;

TEST(mutex_layout, is_small_and_needs_no_code_to_start_or_end) {
  EXPECT_LE(sizeof(mutex), 24U);
  EXPECT_TRUE(std::is_trivially_destructible_v<mutex>);
  EXPECT_TRUE(at_namespace_scope.try_lock());
  at_namespace_scope.unlock();
}

}  // namespace
}  // namespace aramid::test
