// aramid::event and aramid::latch: what has come lets everybody go on, and may then be destroyed.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <stdexcept>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/latch.hpp>
#include <aramid/run.hpp>

#include "crowd.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

// --- event -----------------------------------------------------------------------------------------------------------

using event_test = runtime_test;
INSTANTIATE_TEST_SUITE_P(workers, event_test, worker_counts);

TEST_P(event_test, wakes_all_that_wait_and_holds_up_none_after) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    event come;
    int before = 0;  // not atomic: the event orders it
    std::atomic<int> begun{0};
    crowd all(GetParam(), which);
    for (int i = 0; i < 10; ++i) {
      all.start([&, i] {
        ++begun;
        if (i % 2 == 0) {
          come.wait();
        } else {
          EXPECT_TRUE(come.wait_for(1h));
        }
        EXPECT_EQ(before, 1);
      });
    }
    yield_until([&] { return begun == 10; });
    EXPECT_FALSE(come.is_set());
    before = 1;
    come.set();
    come.set();
    all.join();
    EXPECT_TRUE(come.is_set());
    EXPECT_TRUE(come.wait_for(-1s));
  }
}

TEST_P(event_test, those_that_waited_go_on_even_if_it_is_cleared_at_once) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(500);
    event come;
    crowd all(GetParam(), which);
    for (int round = 0; round < rounds; ++round) {
      event there;
      std::atomic<bool> begun{false};
      all.start([&] {
        begun = true;
        if (come.wait_for(1h)) {
          there.set();
        }
      });
      yield_until([&] { return begun.load(); });
      // It may not wait yet: then it waits for the next time.
      while (!there.is_set()) {
        come.set();
        come.clear();
        this_fiber::yield();
      }
      all.join();
      EXPECT_FALSE(come.is_set());
    }
  }
}

TEST_P(event_test, a_deadline_and_a_cancellation_leave_no_trace) {
  run([] {
    event come;
    EXPECT_FALSE(come.wait_for(0s));
    EXPECT_FALSE(come.wait_for(1ms));
    EXPECT_FALSE(come.wait_until(std::chrono::system_clock::now() + 1ms));
    auto waiter = spawn([&] {
      come.wait();
      ADD_FAILURE() << "it was not set";
    });
    this_fiber::sleep_for(1ms);
    waiter.cancel();
    EXPECT_THROW(waiter.join(), fiber_cancelled);
    come.set();
    {
      cancel_scope scope;
      scope.cancel();
      EXPECT_FALSE(scope.run([&] { come.wait(); }));  // told so, though the event is set
    }
    come.wait();
  });
}

TEST_P(event_test, may_be_destroyed_by_whoever_has_waited) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(2000, 100);
    std::atomic<int> destroyed{0};
    crowd all(GetParam(), which);
    for (int round = 0; round < rounds; ++round) {
      auto* const come = new event;
      all.start([come] { come->set(); });
      all.start([come, round, &destroyed] {
        if (round % 3 == 0) {
          yield_until([&] { return come->is_set(); });
        } else {
          come->wait();
        }
        delete come;
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

TEST_P(event_test, waiters_come_and_go_while_it_is_set_and_cleared) {
  for (const who which : {who::fibers, who::both}) {
    SCOPED_TRACE(which);
    const int rounds = scaled(100);
    crowd all(GetParam(), which);
    std::minstd_rand random(1);
    for (int round = 0; round < rounds; ++round) {
      event come;
      std::atomic<int> begun{0};
      std::atomic<int> left{0};
      for (int i = 0; i < 12; ++i) {
        all.start([&, i] {
          ++begun;
          struct leaving {
            std::atomic<int>& left;
            ~leaving() { ++left; }
          } const guard{left};
          for (int n = 0; n < 10; ++n) {
            if (i % 3 == 0) {
              (void)come.wait_for(std::chrono::microseconds(n));
            } else {
              come.wait();
            }
          }
        });
      }
      yield_until([&] { return begun == 12; });
      for (fiber<>& each : all.fibers()) {
        if (random() % 4 == 0) {
          each.cancel();
        }
      }
      while (left != 12) {
        come.set();
        this_fiber::yield();
        come.clear();
      }
      all.join();
    }
  }
}

// --- latch -----------------------------------------------------------------------------------------------------------

using latch_test = runtime_test;
INSTANTIATE_TEST_SUITE_P(workers, latch_test, worker_counts);

TEST_P(latch_test, lets_go_on_when_all_have_arrived_and_not_before) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(500);
    crowd all(GetParam(), which);
    for (int round = 0; round < rounds; ++round) {
      constexpr int members = 6;
      latch start(members);
      int before[members] = {};  // not atomic: the latch orders them
      for (int i = 0; i < members; ++i) {
        all.start([&, i] {
          before[i] = 1;
          start.arrive_and_wait();
          for (const int each : before) {
            EXPECT_EQ(each, 1);
          }
        });
      }
      start.wait();
      EXPECT_TRUE(start.try_wait());
      all.join();
    }
  }
}

TEST_P(latch_test, counts_by_as_many_as_one_says) {
  run([] {
    latch three(3);
    EXPECT_FALSE(three.try_wait());
    three.count_down(0);
    three.count_down(2);
    EXPECT_FALSE(three.wait_for(1ms));
    three.count_down();
    EXPECT_TRUE(three.wait_for(0s));
    three.count_down(0);
    three.wait();
    latch(0).wait();
  });
}

TEST(latch_on_one_worker, an_arrival_counts_though_the_wait_is_cancelled) {
  run(
      [] {
        latch two(2);
        bool begun = false;
        auto waiter = spawn([&] {
          begun = true;
          two.arrive_and_wait();
        });
        // One worker: once the fiber has begun, it has run until it suspends in the wait.
        yield_until([&] { return begun; });
        waiter.cancel();
        EXPECT_THROW(waiter.join(), fiber_cancelled);
        two.count_down();
        EXPECT_TRUE(two.try_wait());

        latch one(1);
        cancel_scope scope;
        scope.cancel();
        EXPECT_FALSE(scope.run([&] { one.arrive_and_wait(); }));
        EXPECT_FALSE(one.try_wait());  // it was told before it arrived
      },
      options{.workers = 1});
}

TEST_P(latch_test, may_be_destroyed_by_whoever_has_waited) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(2000, 100);
    std::atomic<int> destroyed{0};
    crowd all(GetParam(), which);
    for (int round = 0; round < rounds; ++round) {
      auto* const ends = new latch(2);
      all.start([ends] { ends->count_down(); });
      all.start([ends] { ends->count_down(); });
      all.start([ends, &destroyed] {
        ends->wait();
        delete ends;
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

TEST(latch_misuse, is_refused_or_ends_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_THROW(latch(-1), std::invalid_argument);
  EXPECT_DEATH(latch(1).count_down(2), "latch::count_down\\(2\\): more than is left");
  EXPECT_DEATH(latch(1).count_down(-1), "latch::count_down\\(-1\\): a negative number");
}

}  // namespace
}  // namespace aramid::test
