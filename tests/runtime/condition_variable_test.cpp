// aramid::condition_variable: order, deadlines, cancellation with the lock held, and notifications that must not get lost.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <system_error>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/condition_variable.hpp>
#include <aramid/fiber.hpp>
#include <aramid/mutex.hpp>
#include <aramid/run.hpp>

#include "crowd.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

class condition_variable_test : public runtime_test {};

INSTANTIATE_TEST_SUITE_P(workers, condition_variable_test, worker_counts);

TEST_P(condition_variable_test, two_take_turns) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(5000);
    mutex lock;
    condition_variable turned;
    int turn = 0;
    crowd all(GetParam(), which);
    for (int me = 0; me < 2; ++me) {
      all.start([&, me] {
        for (int n = 0; n < rounds; ++n) {
          std::unique_lock guard(lock);
          turned.wait(guard, [&] { return turn % 2 == me; });
          ++turn;
          turned.notify_one();
        }
      });
    }
    all.join();
    EXPECT_EQ(turn, 2 * rounds);
  }
}

TEST_P(condition_variable_test, a_bounded_queue_loses_nothing) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    constexpr int members = 4;
    const int rounds = scaled(5000);
    mutex lock;
    condition_variable not_full;
    condition_variable not_empty;
    std::deque<int> queue;
    long sum = 0;
    crowd all(GetParam(), which);
    for (int i = 0; i < members; ++i) {
      all.start([&] {
        for (int n = 1; n <= rounds; ++n) {
          std::unique_lock guard(lock);
          not_full.wait(guard, [&] { return queue.size() < 3; });
          queue.push_back(n);
          not_empty.notify_one();
        }
      });
      all.start([&] {
        for (int n = 1; n <= rounds; ++n) {
          std::unique_lock guard(lock);
          not_empty.wait(guard, [&] { return !queue.empty(); });
          sum += queue.front();
          queue.pop_front();
          guard.unlock();
          not_full.notify_one();  // without the lock: allowed
        }
      });
    }
    all.join();
    EXPECT_EQ(sum, long{members} * rounds * (rounds + 1) / 2);
    EXPECT_TRUE(queue.empty());
  }
}

TEST_P(condition_variable_test, notify_all_wakes_all) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(200);
    constexpr int members = 16;
    mutex lock;
    condition_variable all_there;
    int arrived = 0;
    crowd all(GetParam(), which);
    for (int i = 0; i < members; ++i) {
      all.start([&] {
        for (int n = 1; n <= rounds; ++n) {
          std::unique_lock guard(lock);
          if (++arrived == n * members) {
            all_there.notify_all();
          }
          all_there.wait(guard, [&] { return arrived >= n * members; });
        }
      });
    }
    all.join();
    EXPECT_EQ(arrived, rounds * members);
  }
}

TEST(condition_variable_on_one_worker, wakes_in_the_order_of_the_waits) {
  run(
      [] {
        mutex lock;
        condition_variable changed;
        std::vector<int> order;
        std::vector<fiber<>> fibers;
        int waiting = 0;
        for (int i = 0; i < 6; ++i) {
          fibers.push_back(spawn([&, i] {
            std::unique_lock guard(lock);
            ++waiting;
            changed.wait(guard);
            order.push_back(i);
          }));
          yield_until([&] { return waiting == i + 1; });
        }
        for (std::size_t i = 0; i < fibers.size(); ++i) {
          changed.notify_one();
          yield_until([&] { return order.size() == i + 1; });
        }
        for (fiber<>& each : fibers) {
          each.join();
        }
        EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5}));
      },
      options{.workers = 1});
}

TEST_P(condition_variable_test, a_wait_that_times_out_says_so_with_the_lock_held) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    mutex lock;
    condition_variable never;
    crowd all(GetParam(), which);
    std::atomic<int> right{0};
    for (int i = 0; i < 3; ++i) {
      all.start([&] {
        std::unique_lock guard(lock);
        right += never.wait_for(guard, 1ms) == cv_status::timeout && guard.owns_lock() ? 1 : 0;
        right += never.wait_for(guard, 0s) == cv_status::timeout ? 1 : 0;
        right += never.wait_until(guard, clock::now() - 1h) == cv_status::timeout ? 1 : 0;
        right += never.wait_for(guard, 1ms, [] { return false; }) ? 0 : 1;
        right += never.wait_for(guard, -1h, [] { return true; }) ? 1 : 0;
        right +=
            never.wait_until(guard, std::chrono::system_clock::now() + 1ms, [] { return false; })
                ? 0
                : 1;
      });
    }
    all.join();
    EXPECT_EQ(right, 3 * 6);
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
  }
}

TEST_P(condition_variable_test, a_timed_wait_can_be_notified) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    mutex lock;
    condition_variable changed;
    bool done = false;
    std::atomic<int> notified{0};
    crowd all(GetParam(), which);
    for (int i = 0; i < 4; ++i) {
      all.start([&] {
        std::unique_lock guard(lock);
        while (!done) {
          notified += changed.wait_for(guard, 24h) == cv_status::no_timeout ? 1 : 0;
        }
      });
    }
    all.start([&] {
      const std::lock_guard guard(lock);
      done = true;
      changed.notify_all();
    });
    all.join();
    EXPECT_LE(notified, 4);
  }
}

TEST_P(condition_variable_test, needs_a_lock_that_is_held) {
  run([] {
    mutex lock;
    condition_variable changed;
    std::unique_lock<mutex> not_held(lock, std::defer_lock);
    EXPECT_THROW(changed.wait(not_held), std::system_error);
    std::unique_lock<mutex> no_mutex;
    EXPECT_THROW((void)changed.wait_for(no_mutex, 1h), std::system_error);
  });
}

TEST_P(condition_variable_test, what_the_predicate_throws_leaves_with_the_lock_held) {
  run([] {
    mutex lock;
    condition_variable changed;
    std::unique_lock guard(lock);
    EXPECT_THROW(changed.wait(guard, []() -> bool { throw 1; }), int);
    EXPECT_TRUE(guard.owns_lock());
    EXPECT_FALSE(lock.try_lock());
  });
}

TEST_P(condition_variable_test, cancellation_comes_with_the_lock_held) {
  run([] {
    mutex lock;
    condition_variable never;
    bool waits = false;
    bool held = false;
    auto waiter = spawn([&] {
      std::unique_lock guard(lock);
      waits = true;
      try {
        never.wait(guard);
      } catch (const cancelled&) {
        held = guard.owns_lock() && !lock.try_lock();
        throw;
      }
    });
    yield_until([&] {
      const std::lock_guard guard(lock);
      return waits;
    });
    waiter.cancel();
    EXPECT_THROW(waiter.join(), fiber_cancelled);
    EXPECT_TRUE(held);
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
  });
}

TEST_P(condition_variable_test, the_second_wait_for_the_lock_is_shielded) {
  run([] {
    mutex lock;
    condition_variable never;
    bool waits = false;
    std::atomic<bool> caught{false};
    auto waiter = spawn([&] {
      std::unique_lock guard(lock);
      waits = true;
      try {
        never.wait(guard);
      } catch (const cancelled&) {
        caught = true;
        throw;
      }
    });
    lock.lock();
    while (!waits) {
      lock.unlock();
      this_fiber::yield();
      lock.lock();
    }
    waiter.cancel();
    waiter.cancel();
    for (int i = 0; i < 100; ++i) {
      this_fiber::yield();
      EXPECT_FALSE(caught);  // it cannot have come back: we hold the lock
    }
    lock.unlock();
    EXPECT_THROW(waiter.join(), fiber_cancelled);
    EXPECT_TRUE(caught);
  });
}

TEST_P(condition_variable_test, a_cancelled_fiber_is_told_so_whatever_its_predicate_says) {
  run([] {
    mutex lock;
    condition_variable never;
    std::atomic<bool> started{false};
    int thrown = 0;
    auto doomed = spawn([&] {
      std::unique_lock guard(lock);
      started = true;
      try {
        for (;;) {
          this_fiber::yield();
        }
      } catch (const cancelled&) {
        ++thrown;  // level-triggered: what follows throws again
      }
      try {
        never.wait(guard, [] { return true; });
      } catch (const cancelled&) {
        thrown += guard.owns_lock() ? 1 : 100;
      }
      try {
        (void)never.wait_for(guard, 0s, [] { return true; });
      } catch (const cancelled&) {
        thrown += guard.owns_lock() ? 1 : 100;
      }
    });
    yield_until([&] { return started.load(); });
    doomed.cancel();
    doomed.join();
    EXPECT_EQ(thrown, 3);
  });
}

// One notification, two waiters, one of them being cancelled at that very moment: it must reach one of them.
TEST_P(condition_variable_test, a_notification_is_not_lost_to_a_cancellation) {
  const int rounds = scaled(20000, 200);
  int to_cancelled = 0;
  run([&] {
    for (int round = 0; round < rounds; ++round) {
      mutex lock;
      condition_variable changed;
      std::atomic<int> waiting{0};
      std::atomic<int> notified{0};
      const auto wait = [&] {
        std::unique_lock guard(lock);
        ++waiting;
        changed.wait(guard);
        ++notified;
      };
      auto first = spawn(wait);
      yield_until([&] { return waiting == 1; });
      auto second = spawn(wait);
      yield_until([&] { return waiting == 2; });
      { const std::lock_guard both_are_queued(lock); }

      auto notifier = spawn([&] { changed.notify_one(); });
      auto canceller = spawn([&] { first.cancel(); });
      notifier.join();
      canceller.join();
      try {
        first.join();
        ++to_cancelled;  // the notification won
        changed.notify_one();
      } catch (const fiber_cancelled&) {
      }
      second.join();
      ASSERT_EQ(waiting, 2);
    }
  });
  RecordProperty("notification_won", to_cancelled);
}

// The same with deadlines: a permit that is given out by notify_one goes to somebody who waits for it.
TEST_P(condition_variable_test, permits_are_counted_under_timeouts_and_cancellations) {
  for (const who which : {who::fibers, who::both}) {
    SCOPED_TRACE(which);
    const int rounds = scaled(100);
    crowd all(GetParam(), which);
    mutex lock;
    condition_variable available;
    long permits = 0;
    long given = 0;
    long taken = 0;
    for (int round = 0; round < rounds; ++round) {
      for (int i = 0; i < 8; ++i) {
        all.start([&, i] {
          for (int n = 0; n < 8; ++n) {
            std::unique_lock guard(lock);
            if (i % 2 == 0) {
              ++permits;
              ++given;
              guard.unlock();
              available.notify_one();
            } else if (available.wait_for(guard, std::chrono::microseconds(10 * n),
                                          [&] { return permits > 0; })) {
              --permits;
              ++taken;
            }
          }
        });
      }
      std::size_t i = 0;
      for (fiber<>& each : all.fibers()) {
        if (i++ % 3 == 0) {
          each.cancel();
        }
      }
      all.join();
      ASSERT_EQ(permits, given - taken);
      ASSERT_GE(permits, 0);
    }
  }
}

// As std has it: once all are notified it may be destroyed, although some have not returned yet, not even those whose
// time ran out at the same moment.
TEST_P(condition_variable_test, may_be_destroyed_after_notify_all) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(400, 50);
    crowd all(GetParam(), which);
    for (int round = 0; round < rounds; ++round) {
      mutex lock;
      auto gone = std::make_unique<condition_variable>();
      int waiting = 0;
      for (int i = 0; i < 3; ++i) {
        all.start([&, changed = gone.get()] {
          std::unique_lock guard(lock);
          ++waiting;
          (void)changed->wait_for(guard, std::chrono::microseconds(20));
        });
      }
      std::unique_lock guard(lock);
      while (waiting != 3) {
        guard.unlock();
        this_fiber::yield();
        guard.lock();
      }
      gone->notify_all();
      gone.reset();
      guard.unlock();
      all.join();
    }
  }
}

}  // namespace
}  // namespace aramid::test
