#include <aramid/fiber_pool.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <aramid/channel.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/timeout.hpp>

#include "numbers.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {

namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;

/// How many are inside, and the most that ever were.
class gauge {
public:
  class visit {
  public:
    explicit visit(gauge& of) : of_(of) {
      const int now = ++of_.inside_;
      int most = of_.most_;
      while (now > most && !of_.most_.compare_exchange_weak(most, now)) {
      }
    }
    ~visit() { --of_.inside_; }

  private:
    gauge& of_;
  };
  [[nodiscard]] int most() const { return most_; }
  [[nodiscard]] int inside() const { return inside_; }

private:
  std::atomic<int> inside_ = 0;
  std::atomic<int> most_ = 0;
};

class fiber_pool_test : public runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, fiber_pool_test, worker_counts);

TEST_P(fiber_pool_test, never_more_than_the_limit_run_and_all_do) {
  run([] {
    gauge running;
    std::atomic<int> done = 0;
    event full;
    {
      fiber_pool pool(7);
      for (int i = 0; i != 200; ++i) {
        pool.submit([&] {
          const gauge::visit here(running);
          if (running.inside() == 7) {
            full.set();
          }
          full.wait();  // the first seven, for each other
          this_fiber::sleep_for(std::chrono::microseconds(100));
          ++done;
        });
      }
      pool.join();
    }
    EXPECT_EQ(done, 200);
    EXPECT_EQ(running.most(), 7);
  });
}

TEST_P(fiber_pool_test, submit_suspends_while_it_is_full_and_a_cancelled_one_submits_nothing) {
  run([] {
    fiber_pool pool(1);
    event go;
    auto first = pool.submit([&] { go.wait(); });
    EXPECT_FALSE(pool.try_submit([] { ADD_FAILURE(); }));
    auto item = std::make_unique<int>(1);
    EXPECT_FALSE(pool.try_submit([](std::unique_ptr<int>) {}, std::move(item)));
    EXPECT_NE(item, nullptr);
    EXPECT_THROW(with_timeout(1ms, [&] { pool.submit([] { ADD_FAILURE(); }); }), timeout_error);
    EXPECT_EQ(pool.size(), 1U);
    go.set();
    first.join();
    EXPECT_EQ(pool.submit([](int a, int b) { return a + b; }, 2, 3).join(), 5);
    EXPECT_THROW(fiber_pool(0), std::invalid_argument);
  });
}

TEST_P(fiber_pool_test, a_failure_is_its_tasks_alone_and_one_that_nobody_joins_is_logged) {
  const captured_log log;
  run([] {
    fiber_pool pool(4);
    auto fails = pool.submit([] { throw std::runtime_error("joined"); });
    auto lives = pool.submit([] {
      this_fiber::sleep_for(1ms);
      return 3;
    });
    EXPECT_THROW(fails.join(), std::runtime_error);
    EXPECT_EQ(lives.join(), 3);
    pool.submit([] { throw std::runtime_error("dropped"); });
    {
      auto late = pool.submit([] { throw std::runtime_error("dropped late"); });
      EXPECT_TRUE(eventually([&] { return late.done(); }));
    }
    pool.join();
  });
  EXPECT_EQ(log.count("joined: "), 0U);
  EXPECT_EQ(log.count("dropped"), 2U);
  EXPECT_EQ(log.count("dropped late"), 1U);
}

TEST_P(fiber_pool_test, destruction_cancels_also_what_never_began_and_gives_its_places_back) {
  run([] {
    gauge running;
    {
      fiber_pool pool(3);
      for (int i = 0; i != 3; ++i) {
        pool.submit([&] {
          const gauge::visit here(running);
          sleep_until_cancelled();
        });
      }
      pool.cancel();
      // Places of cancelled fibers come back; what comes now is born cancelled.
      auto late = pool.submit([] { ADD_FAILURE(); });
      EXPECT_THROW(late.join(), fiber_cancelled);
    }
    EXPECT_EQ(running.inside(), 0);
  });
}

TEST_P(fiber_pool_test, map_gives_results_in_the_order_of_the_inputs) {
  run([] {
    fiber_pool pool(5);
    std::vector<int> results;
    for (const int each : pool.map(numbers(0, 50), [](int n) {
           this_fiber::sleep_for(std::chrono::microseconds((50 - n) * 10));
           return n * n;
         })) {
      results.push_back(each);
    }
    std::vector<int> expected;
    for (int n = 0; n != 50; ++n) {
      expected.push_back(n * n);
    }
    EXPECT_EQ(results, expected);
  });
}

TEST_P(fiber_pool_test, map_unordered_gives_what_is_ready) {
  run([] {
    fiber_pool pool(3);
    event last;
    std::vector<int> results;
    for (const int each : pool.map_unordered(std::vector{1, 2, 3, 4, 5}, [&](int n) {
           if (n == 1) {
             last.wait();
           }
           return n;
         })) {
      results.push_back(each);
      if (results.size() == 4) {
        last.set();
      }
    }
    ASSERT_EQ(results.size(), 5U);
    EXPECT_EQ(results.back(), 1);
    std::ranges::sort(results);
    EXPECT_THAT(results, ElementsAre(1, 2, 3, 4, 5));
  });
}

TEST_P(fiber_pool_test, a_million_inputs_never_have_more_than_the_limit_alive) {
  run([] {
    const int inputs = scaled(1'000'000, 1'000);
    constexpr int limit = 100;
    fiber_pool pool(limit);
    gauge alive;
    int taken = 0;
    int given = 0;
    long long sum = 0;
    const numbers counting(0, inputs, [&](int) {
      ++taken;
      EXPECT_LE(taken - given, limit + 1);  // lazy: no further ahead of the results
    });
    for (const long long each : pool.map_unordered(counting, [&](int n) {
           const gauge::visit here(alive);
           return static_cast<long long>(n);
         })) {
      ++given;
      sum += each;
    }
    EXPECT_EQ(given, inputs);
    EXPECT_EQ(sum, static_cast<long long>(inputs) * (inputs - 1) / 2);
    EXPECT_LE(alive.most(), limit);
    EXPECT_LE(pool.size(), static_cast<std::size_t>(limit));
  });
}

TEST_P(fiber_pool_test, map_throws_in_its_place_and_goes_on_behind_it) {
  run([] {
    fiber_pool pool(2);
    auto squares = pool.map(numbers(0, 4), [](int n) {
      if (n == 1) {
        throw std::runtime_error("one");
      }
      return n;
    });
    auto it = squares.begin();
    EXPECT_EQ(*it, 0);
    EXPECT_THROW(++it, std::runtime_error);
    ++it;
    EXPECT_EQ(*it, 2);
    ++it;
    EXPECT_EQ(*it, 3);
    ++it;
    EXPECT_TRUE(it == squares.end());
  });
}

TEST_P(fiber_pool_test, a_map_that_is_left_early_cancels_and_joins_what_it_began) {
  run([] {
    gauge running;
    fiber_pool pool(4);
    for (const int first : pool.map(numbers(0, std::numeric_limits<int>::max()), [&](int n) {
           const gauge::visit here(running);
           if (n != 0) {
             sleep_until_cancelled();
           }
           return n;
         })) {
      EXPECT_EQ(first, 0);
      break;
    }
    EXPECT_EQ(running.inside(), 0);
    EXPECT_TRUE(eventually([&] { return pool.size() == 0; }));
    // All places are free again.
    for (const int each : pool.map_unordered(numbers(0, 8), [](int n) { return n; })) {
      EXPECT_LT(each, 8);
    }
  });
}

TEST_P(fiber_pool_test, a_step_that_is_cancelled_can_be_taken_again) {
  run([] {
    fiber_pool pool(2);
    event go;
    const auto waits = [&](int n) {
      if (n == 1) {
        go.wait();
      }
      return n;
    };
    std::vector<int> results;
    auto mapped = pool.map(numbers(0, 3), waits);
    auto it = mapped.begin();
    results.push_back(*it);
    EXPECT_THROW(with_timeout(1ms, [&] { ++it; }), timeout_error);
    go.set();
    for (++it; it != mapped.end(); ++it) {
      results.push_back(*it);
    }
    EXPECT_THAT(results, ElementsAre(0, 1, 2));
  });
}

TEST_P(fiber_pool_test, map_takes_move_only_results_references_and_functions_of_nothing) {
  run([] {
    fiber_pool pool(2);
    int sum = 0;
    for (std::unique_ptr<int>& each : pool.map(std::vector{1, 2}, [](int n) { return std::make_unique<int>(n); })) {
      sum += *std::unique_ptr<int>(std::move(each));
    }
    EXPECT_EQ(sum, 3);
    std::vector<int> slots(3);
    for (int& each : pool.map(numbers(0, 3), [&](int n) -> int& { return slots[static_cast<std::size_t>(n)]; })) {
      each = 7;
    }
    EXPECT_THAT(slots, ElementsAre(7, 7, 7));
    std::atomic<int> calls = 0;
    for ([[maybe_unused]] const auto nothing : pool.map_unordered(std::vector{1, 2, 3}, [&](int) { ++calls; })) {
    }
    EXPECT_EQ(calls, 3);
    // Inputs that come from a channel, and one at a time.
    channel<int> sent;
    auto producer = spawn([&] {
      for (int i = 1; i != 4; ++i) {
        sent.send(i);
      }
      sent.close();
    });
    std::vector<int> doubled;
    for (const int each : pool.map(sent, [](int n) { return 2 * n; })) {
      doubled.push_back(each);
    }
    EXPECT_THAT(doubled, ElementsAre(2, 4, 6));
  });
}

// Inputs are counted under random cancellation of the reader: each result comes once.
TEST_P(fiber_pool_test, nothing_is_lost_or_doubled_when_steps_are_cancelled) {
  run([] {
    const int inputs = scaled(20'000, 500);
    fiber_pool pool(8);
    std::vector<int> seen(static_cast<std::size_t>(inputs));
    auto mapped = pool.map_unordered(numbers(0, inputs), [](int n) {
      for (int i = 0; i != n % 3; ++i) {
        this_fiber::yield();
      }
      return n;
    });
    using iterator = decltype(mapped.begin());
    std::optional<iterator> it;
    for (int step = 0;; ++step) {
      const auto limit = std::chrono::microseconds(step % 5 == 0 ? 0 : 1'000'000);
      const bool went = try_with_timeout(limit, [&] {
        if (!it) {
          it.emplace(mapped.begin());
        } else {
          ++*it;
        }
      });
      if (went) {
        if (*it == mapped.end()) {
          break;
        }
        ++seen[static_cast<std::size_t>(**it)];
      }
    }
    EXPECT_EQ(std::ranges::count(seen, 1), inputs);
  });
}

// An input that has left its channel is not lost when the step that waits for the next one is cancelled; and it does not wait for that.
TEST_P(fiber_pool_test, inputs_of_a_channel_survive_steps_that_are_cancelled) {
  run([] {
    fiber_pool pool(3);
    channel<int> sent(8);
    sent.send(1);
    event began;
    auto mapped = pool.map(sent, [&](int n) {
      began.set();
      return n;
    });
    using iterator = decltype(mapped.begin());
    std::optional<iterator> it;
    EXPECT_THROW(with_timeout(1ms, [&] { it.emplace(mapped.begin()); }), timeout_error);
    began.wait();  // the first has been begun, although there is no second
    for (int n = 2; n != 6; ++n) {
      sent.send(n);
    }
    sent.close();
    std::vector<int> results;
    for (it.emplace(mapped.begin()); *it != mapped.end(); ++*it) {
      results.push_back(**it);
    }
    EXPECT_THAT(results, ElementsAre(1, 2, 3, 4, 5));
  });
}

TEST_P(fiber_pool_test, a_map_may_read_another_of_the_same_pool_of_one) {
  run([] {
    fiber_pool pool(1);
    auto doubled = pool.map(numbers(0, 5), [](int n) { return 2 * n; });
    std::vector<int> results;
    for (const int each : pool.map(doubled, [](int n) { return n + 1; })) {
      results.push_back(each);
    }
    EXPECT_THAT(results, ElementsAre(1, 3, 5, 7, 9));
  });
}

class as_completed_test : public runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, as_completed_test, worker_counts);

TEST_P(as_completed_test, handles_come_as_their_fibers_end) {
  run([] {
    std::vector<std::unique_ptr<event>> go;
    std::vector<fiber<int>> fibers;
    for (int i = 0; i != 3; ++i) {
      go.push_back(std::make_unique<event>());
      fibers.push_back(spawn([&at = *go.back(), i] {
        at.wait();
        return i;
      }));
    }
    go[2]->set();
    std::vector<int> order;
    for (fiber<int>& each : as_completed(fibers)) {
      order.push_back(each.join());
      if (order.size() == 1) {
        go[0]->set();
      } else if (order.size() == 2) {
        go[1]->set();
      }
    }
    EXPECT_THAT(order, ElementsAre(2, 0, 1));
  });
}

TEST_P(as_completed_test, it_may_be_left_early_and_cancelled_meanwhile) {
  run([] {
    event go;
    std::vector<fiber<>> fibers;
    for (int i = 0; i != 4; ++i) {
      fibers.push_back(spawn([&] { go.wait(); }));
    }
    {
      auto ended = as_completed(fibers);
      EXPECT_THROW(with_timeout(1ms, [&] { (void)ended.begin(); }), timeout_error);
      go.set();
      int count = 0;
      for (fiber<>& each : ended) {
        EXPECT_TRUE(each.done());
        ++count;
      }
      EXPECT_EQ(count, 4);
    }
    std::vector<fiber<>> others;
    for (int i = 0; i != 4; ++i) {
      others.push_back(spawn([i] { this_fiber::sleep_for(std::chrono::microseconds(200 * i)); }));
    }
    for (fiber<>& each : as_completed(others)) {
      each.join();
      break;
    }
    std::erase_if(others, [](const fiber<>& each) { return !each.joinable(); });
    wait_all(others);
    std::vector<fiber<>> none;
    for ([[maybe_unused]] fiber<>& each : as_completed(none)) {
      ADD_FAILURE();
    }
    std::vector<fiber<>> empty(1);
    EXPECT_THROW((void)as_completed(empty), std::logic_error);
  });
}

TEST_P(as_completed_test, wait_any_waits_for_the_first_and_joins_nobody) {
  run([] {
    event never;
    auto slow = spawn([&] { never.wait(); });
    auto quick = spawn([] { return std::string("quick"); });
    EXPECT_EQ(wait_any(slow, quick), 1U);
    EXPECT_EQ(wait_any(slow, quick), 1U);  // it still is
    EXPECT_EQ(quick.join(), "quick");
    EXPECT_THROW((void)wait_any(slow, quick), std::logic_error);
    EXPECT_THROW(with_timeout(1ms, [&] { (void)wait_any(slow); }), timeout_error);
    std::vector<fiber<>> many;
    for (int i = 0; i != 50; ++i) {
      many.push_back(spawn([&, i] {
        if (i != 33) {
          never.wait();
        }
      }));
    }
    EXPECT_EQ(wait_any(many) - many.begin(), 33);
    many.clear();
    EXPECT_THROW((void)wait_any(many), std::invalid_argument);
    // Whichever is looked at first, nothing stays behind of a wait that is refused.
    for (int round = 0; round != 20; ++round) {
      event go;
      auto other = spawn([&] { go.wait(); });
      channel<fiber<>*> tell(1);
      auto asks = spawn([&] {
        fiber<>& me = *tell.receive().value();
        EXPECT_THROW((void)wait_any(other, me), std::logic_error);
      });
      tell.send(&asks);
      asks.join();
      go.set();
      other.join();
    }
    auto self = spawn([&] {
      fiber<>* me = nullptr;
      channel<fiber<>*> tell(1);
      auto inner = spawn([&] {
        me = tell.receive().value();
        EXPECT_THROW((void)wait_any(*me), std::logic_error);
      });
      tell.send(&inner);
      inner.wait();
    });
    self.join();
    never.set();
    slow.join();
  });
}

TEST_P(as_completed_test, wait_all_waits_for_failures_and_cancellations_too) {
  run([] {
    auto fails = spawn([] { throw std::runtime_error("on purpose"); });
    auto sleeps = spawn([] { sleep_until_cancelled(); });
    auto returns = spawn([] { return 1; });
    EXPECT_THROW(with_timeout(1ms, [&] { wait_all(fails, sleeps, returns); }), timeout_error);
    sleeps.cancel();
    wait_all(fails, sleeps, returns);
    EXPECT_TRUE(fails.done() && sleeps.done() && returns.done());
    EXPECT_THROW(fails.join(), std::runtime_error);
    EXPECT_THROW(sleeps.join(), fiber_cancelled);
    EXPECT_EQ(returns.join(), 1);
  });
}

TEST_P(as_completed_test, what_waits_for_any_is_woken_once_by_whichever_ends) {
  run([] {
    for (int round = 0; round != scaled(2'000, 50); ++round) {
      std::vector<fiber<int>> racers;
      for (int i = 0; i != 4; ++i) {
        racers.push_back(spawn([i] {
          this_fiber::yield();
          return i;
        }));
      }
      int sum = 0;
      while (!racers.empty()) {
        const auto first = wait_any(racers);
        EXPECT_TRUE(first->done());
        sum += first->join();
        racers.erase(first);
      }
      EXPECT_EQ(sum, 6);
    }
  });
}

}  // namespace

}  // namespace aramid::test
