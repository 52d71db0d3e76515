// aramid::promise and its futures: one outcome, seen by all who wait, in std's shape.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/promise.hpp>
#include <aramid/run.hpp>

#include "crowd.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

using promise_test = runtime_test;
INSTANTIATE_TEST_SUITE_P(workers, promise_test, worker_counts);

/// Whether `fn` throws a future_error with this code.
template <class Fn>
::testing::AssertionResult refused_with(future_errc code, Fn fn) {
  try {
    fn();
  } catch (const future_error& e) {
    return e.code() == code ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << e.what();
  }
  return ::testing::AssertionFailure() << "nothing was thrown";
}

TEST_P(promise_test, hands_a_value_over) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(1000);
    crowd all(GetParam(), which);
    for (int round = 0; round < rounds; ++round) {
      // Moved only; destroyed on either side as soon as it is done with.
      auto ours = std::make_unique<promise<std::unique_ptr<int>>>();
      auto theirs = ours->get_future();
      all.start([theirs = std::move(theirs), round]() mutable {
        EXPECT_EQ(*theirs.get(), round);
        EXPECT_FALSE(theirs.valid());
      });
      all.start([ours = std::move(ours), round] { ours->set_value(std::make_unique<int>(round)); });
      if (round % 10 == 9) {
        all.join();
      }
    }
    all.join();
  }
}

TEST_P(promise_test, carries_what_can_be_carried) {
  run([] {
    promise<int> a;
    const int one = 1;
    a.set_value(one);
    EXPECT_EQ(a.get_future().get(), 1);

    promise<std::string> b;
    b.set_value("text");
    EXPECT_EQ(b.get_future().get(), "text");

    promise<std::pair<int, int>> c;
    c.set_value({1, 2});
    EXPECT_EQ(c.get_future().get().second, 2);

    int x = 0;
    promise<int&> d;
    d.set_value(x);
    EXPECT_EQ(&d.get_future().get(), &x);

    promise<> e;
    e.set_value();
    e.get_future().get();
    static_assert(std::is_void_v<decltype(e.get_future().get())>);

    promise<int> f;
    f.set_exception(std::make_exception_ptr(std::runtime_error("alas")));
    auto failed = f.get_future();
    EXPECT_THROW(failed.get(), std::runtime_error);
    EXPECT_FALSE(failed.valid());
  });
}

TEST_P(promise_test, its_first_outcome_counts) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(300);
    crowd all(GetParam(), which);
    for (int round = 0; round < rounds; ++round) {
      promise<int> answer;
      auto seen = answer.get_future();
      std::atomic<int> accepted{0};
      std::atomic<int> refused{0};
      for (int i = 0; i < 4; ++i) {
        all.start([&, i] {
          try {
            if (i == 3) {
              answer.set_exception(std::make_exception_ptr(3));
            } else {
              answer.set_value(i);
            }
            accepted += 1 + i;
          } catch (const future_error&) {
            ++refused;
          }
        });
      }
      int got = -1;
      try {
        got = seen.get();
      } catch (int thrown) {
        got = thrown;
      }
      all.join();
      EXPECT_EQ(accepted, 1 + got);
      EXPECT_EQ(refused, 3);
    }
  }
}

TEST_P(promise_test, many_share_one_outcome) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    promise<std::string> text;
    const shared_future<std::string> shared = text.get_future().share();
    crowd all(GetParam(), which);
    std::atomic<const std::string*> where{nullptr};
    for (int i = 0; i < 10; ++i) {
      all.start([&, mine = shared] {
        EXPECT_EQ(mine.get(), "the same");
        EXPECT_EQ(mine.get(), "the same");
        where = &mine.get();
      });
    }
    text.set_value("the same");
    all.join();
    EXPECT_EQ(where.load(), &shared.get());

    promise<int> failing;
    const shared_future<int> failed(failing.get_future().share());
    failing.set_exception(std::make_exception_ptr(7));
    EXPECT_THROW((void)failed.get(), int);
    EXPECT_THROW((void)failed.get(), int);
    promise<> nothing;
    nothing.set_value();
    nothing.get_future().share().get();
  }
}

TEST_P(promise_test, one_that_is_dropped_is_broken) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    future<int> broken;
    crowd all(GetParam(), which);
    {
      promise<int> dropped;
      broken = dropped.get_future();
      all.start([&] { EXPECT_TRUE(refused_with(future_errc::broken_promise, [&] { broken.get(); })); });
      this_fiber::sleep_for(1ms);
    }
    all.join();
    promise<int> replaced;
    auto first = replaced.get_future();
    replaced = promise<int>();
    EXPECT_TRUE(refused_with(future_errc::broken_promise, [&] { first.get(); }));
    replaced.set_value(1);
    EXPECT_EQ(replaced.get_future().get(), 1);
  }
}

TEST_P(promise_test, refuses_what_std_refuses) {
  run([] {
    promise<int> once;
    auto seen = once.get_future();
    EXPECT_TRUE(refused_with(future_errc::future_already_retrieved, [&] { (void)once.get_future(); }));
    once.set_value(1);
    EXPECT_TRUE(refused_with(future_errc::promise_already_satisfied, [&] { once.set_value(2); }));
    EXPECT_TRUE(refused_with(future_errc::promise_already_satisfied, [&] { once.set_exception(nullptr); }));
    EXPECT_EQ(seen.get(), 1);
    EXPECT_TRUE(refused_with(future_errc::no_state, [&] { seen.get(); }));
    EXPECT_TRUE(refused_with(future_errc::no_state, [&] { seen.wait(); }));
    EXPECT_TRUE(refused_with(future_errc::no_state, [&] { (void)future<int>().wait_for(1s); }));
    const promise<int> moved = std::move(once);
    EXPECT_TRUE(refused_with(future_errc::no_state, [&] { once.set_value(3); }));
    EXPECT_TRUE(refused_with(future_errc::no_state, [&] { (void)once.get_future(); }));
  });
}

TEST_P(promise_test, a_value_that_cannot_be_copied_leaves_it_open) {
  struct bomb {
    bool goes_off = false;
    bomb() = default;
    explicit bomb(bool goes) : goes_off(goes) {}
    bomb(const bomb& other) {
      if (other.goes_off) {
        throw std::runtime_error("no");
      }
    }
  };
  run([] {
    promise<bomb> open;
    auto seen = open.get_future();
    EXPECT_THROW(open.set_value(bomb(true)), std::runtime_error);
    EXPECT_FALSE(seen.ready());
    EXPECT_EQ(seen.wait_for(0s), future_status::timeout);
    open.set_value(bomb(false));
    EXPECT_TRUE(seen.ready());
    EXPECT_EQ(seen.wait_for(0s), future_status::ready);
    EXPECT_FALSE(seen.get().goes_off);
  });
}

TEST_P(promise_test, a_future_outlives_a_wait_that_ended_early) {
  run([] {
    promise<int> late;
    auto seen = late.get_future();
    EXPECT_EQ(seen.wait_for(1ms), future_status::timeout);
    EXPECT_EQ(seen.wait_until(clock::now() + 1ms), future_status::timeout);
    auto waiter = spawn([&] { return seen.get(); });
    this_fiber::sleep_for(1ms);
    waiter.cancel();
    EXPECT_THROW((void)waiter.join(), fiber_cancelled);
    EXPECT_TRUE(seen.valid());
    late.set_value(5);
    EXPECT_EQ(seen.get(), 5);
  });
}

TEST_P(promise_test, no_value_is_lost_or_kept_between_outcome_and_cancellation) {
  const int rounds = scaled(2000);
  crowd all(GetParam());
  std::minstd_rand random(1);
  std::atomic<int> seen{0};
  for (int round = 0; round < rounds; ++round) {
    auto ours = std::make_shared<promise<counted>>();
    auto theirs = std::make_shared<future<counted>>(ours->get_future());
    all.start([&, theirs] {
      (void)theirs->get();
      ++seen;
    });
    all.start([ours] { ours->set_value(counted()); });
    if (random() % 2 == 0) {
      all.fibers()[all.fibers().size() - 2].cancel();
    }
    if (round % 10 == 9) {
      all.join();
    }
  }
  all.join();
  EXPECT_EQ(counted::alive(), 0);
  EXPECT_GE(seen, rounds / 4);
}

}  // namespace
}  // namespace aramid::test
