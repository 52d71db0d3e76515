// Deadlines around code that suspends: which of several fires, and that nothing ready is lost. Nothing here asserts how long
// anything takes: an hour stands for "never", a microsecond for "at once".
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/channel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/timeout.hpp>

#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

class timeout_test : public runtime_test {
protected:
  template <class Fn>
  static void on_fiber_and_thread(Fn fn) {
    {
      SCOPED_TRACE("fiber");
      run(fn);
    }
    SCOPED_TRACE("thread");
    std::thread(fn).join();
  }
};

INSTANTIATE_TEST_SUITE_P(workers, timeout_test, worker_counts);

void never() { this_fiber::sleep_for(24h); }

TEST_P(timeout_test, throws_what_is_distinct_from_the_networks_timeout) {
  on_fiber_and_thread([] {
    EXPECT_THROW(with_timeout(1us, never), timeout_error);
    static_assert(!std::is_base_of_v<std::system_error, timeout_error>);
    try {
      with_deadline(clock::now() + 1us, never);
      ADD_FAILURE();
    } catch (const std::exception& error) {
      EXPECT_STRNE(error.what(), "");
    }
  });
}

TEST_P(timeout_test, returns_the_result) {
  on_fiber_and_thread([] {
    EXPECT_EQ(with_timeout(1h, [] { return 3; }), 3);
    EXPECT_EQ(*with_timeout(1h, [] { return std::make_unique<int>(4); }), 4);
    int variable = 0;
    int& same = with_timeout(1h, [&]() -> int& { return variable; });
    EXPECT_EQ(&same, &variable);
    with_timeout(1h, [&] { variable = 1; });
    EXPECT_EQ(variable, 1);
    EXPECT_THROW(with_timeout(1h, [] { throw std::out_of_range("x"); }), std::out_of_range);
    // Left behind, the deadline has no effect.
    this_fiber::yield();
  });
}

TEST_P(timeout_test, try_form_returns_an_empty_optional) {
  on_fiber_and_thread([] {
    EXPECT_EQ(try_with_timeout(1h, [] { return 3; }), 3);
    EXPECT_EQ(try_with_timeout(1us,
                               [] {
                                 never();
                                 return 3;
                               }),
              std::nullopt);
    EXPECT_TRUE(try_with_timeout(1h, [] {}));
    EXPECT_FALSE(try_with_timeout(1us, never));
    EXPECT_EQ(**try_with_timeout(1h, [] { return std::make_unique<int>(4); }), 4);
    int variable = 0;
    EXPECT_EQ(try_with_timeout(1h, [&]() -> int& { return variable; }), &variable);
    EXPECT_EQ(try_with_timeout(1us,
                               [&]() -> int& {
                                 never();
                                 return variable;
                               }),
              nullptr);
  });
}

TEST_P(timeout_test, zero_negative_and_huge_durations) {
  on_fiber_and_thread([] {
    EXPECT_EQ(with_timeout(0s, [] { return 1; }), 1);  // it never waits
    EXPECT_THROW(with_timeout(0s, [] { this_fiber::yield(); }), timeout_error);
    EXPECT_THROW(with_timeout(-1h, [] { this_fiber::yield(); }), timeout_error);
    EXPECT_THROW(with_timeout(std::chrono::hours::min(), [] { this_fiber::yield(); }), timeout_error);
    EXPECT_THROW(with_timeout(std::chrono::duration<double>(1e-12), never), timeout_error);
    EXPECT_EQ(with_timeout(std::chrono::hours::max(),
                           [] {
                             this_fiber::sleep_for(1us);
                             return 2;
                           }),
              2);
    EXPECT_EQ(with_timeout(std::chrono::duration<double>(1e30),
                           [] {
                             this_fiber::sleep_for(1us);
                             return 2;
                           }),
              2);
    EXPECT_EQ(with_timeout(clock::duration::max(), [] { return 4; }), 4);
    EXPECT_EQ(with_deadline(time_point::max(), [] { return 5; }), 5);
    EXPECT_THROW(with_deadline(time_point::min(), [] { this_fiber::checkpoint(); }), timeout_error);
  });
}

TEST_P(timeout_test, sleeps_of_any_length) {
  on_fiber_and_thread([] {
    this_fiber::sleep_for(0s);
    this_fiber::sleep_for(-1h);
    this_fiber::sleep_for(std::chrono::hours::min());
    this_fiber::sleep_until(time_point::min());
    this_fiber::sleep_until(clock::now());
    const auto before = clock::now();
    this_fiber::sleep_for(2ms);
    EXPECT_GE(clock::now() - before, 2ms);  // never early
    EXPECT_FALSE(try_with_timeout(1us, [] { this_fiber::sleep_for(std::chrono::hours::max()); }));
    EXPECT_FALSE(try_with_timeout(1us, [] { this_fiber::sleep_until(time_point::max()); }));
    EXPECT_FALSE(try_with_timeout(1us, [] { this_fiber::sleep_until(time_point::max() - 1ns); }));
  });
}

TEST_P(timeout_test, of_two_nested_the_one_that_expires_first_is_reported) {
  on_fiber_and_thread([] {
    // The inner.
    EXPECT_EQ(with_timeout(1h,
                           [] {
                             try {
                               with_timeout(1us, never);
                             } catch (const timeout_error&) {
                               this_fiber::yield();  // the outer one has not expired
                               return 1;
                             }
                             return 0;
                           }),
              1);
    // The outer.
    bool inner_reported = false;
    EXPECT_THROW(with_timeout(1us,
                              [&] {
                                try {
                                  with_timeout(1h, never);
                                } catch (const timeout_error&) {
                                  inner_reported = true;
                                  throw;
                                }
                              }),
                 timeout_error);
    EXPECT_FALSE(inner_reported);
    // Both: the outermost.
    EXPECT_THROW(with_deadline(time_point::min(),
                               [&] {
                                 try {
                                   with_deadline(time_point::min(), never);
                                 } catch (const timeout_error&) {
                                   inner_reported = true;
                                   throw;
                                 }
                               }),
                 timeout_error);
    EXPECT_FALSE(inner_reported);
  });
}

TEST_P(timeout_test, an_inner_try_does_not_swallow_the_outer) {
  on_fiber_and_thread([] {
    bool went_on = false;
    EXPECT_EQ(try_with_timeout(1us,
                               [&] {
                                 (void)try_with_timeout(1h, never);
                                 went_on = true;
                                 return 1;
                               }),
              std::nullopt);
    EXPECT_FALSE(went_on);
  });
}

TEST_P(timeout_test, many_levels) {
  run([] {
    for (int expiring = 0; expiring < 8; ++expiring) {
      int reported = -1;
      const auto level = [&](const auto& self, int depth) -> void {
        if (depth == 8) {
          never();
          return;
        }
        try {
          with_deadline(depth >= expiring ? time_point::min() : time_point::max(), [&] { self(self, depth + 1); });
        } catch (const timeout_error&) {
          reported = reported < 0 ? depth : reported;
        }
      };
      level(level, 0);
      EXPECT_EQ(reported, expiring);
    }
  });
}

TEST_P(timeout_test, cancellation_is_no_timeout) {
  run([] {
    std::atomic<bool> waits{false};
    auto f = spawn([&] {
      try {
        with_timeout(1h, [&] {
          waits = true;
          never();
        });
      } catch (const timeout_error&) {
        ADD_FAILURE();
      }
    });
    EXPECT_TRUE(eventually([&] { return waits.load(); }));
    f.cancel();
    EXPECT_THROW(f.join(), fiber_cancelled);
  });
}

TEST_P(timeout_test, what_is_ready_when_the_deadline_passes_is_returned) {
  aramid::run(
      [] {
        channel<int> items(1);
        bool waits = false;
        auto receiver = spawn([&] {
          return with_timeout(1ms, [&] {
            waits = true;
            return items.receive();
          });
        });
        while (!waits) {
          this_fiber::yield();
        }
        const auto late = clock::now() + 2ms;
        items.send(7);
        // One worker: the receiver has been woken, but cannot run before its deadline has passed.
        while (clock::now() < late) {
        }
        EXPECT_EQ(receiver.join(), 7);
      },
      options{.workers = 1});
}

TEST_P(timeout_test, items_are_never_lost_between_result_and_deadline) {
  run([] {
    channel<int> items;
    std::atomic<long> received{0};
    std::atomic<bool> over{false};
    const int count = scaled(3000, 100);
    std::vector<fiber<>> receivers;
    for (int i = 0; i < 4; ++i) {
      receivers.push_back(spawn([&, i] {
        for (int n = 0; !over; ++n) {
          const auto patience = std::chrono::nanoseconds((n * 7 + i * 131) % 20'000);
          try {
            if (const auto item = with_timeout(patience, [&] { return items.receive(); })) {
              received += *item;
            }
          } catch (const timeout_error&) {
          }
        }
      }));
    }
    for (int i = 1; i <= count; ++i) {
      items.send(i);
    }
    EXPECT_TRUE(eventually([&] { return received == long{count} * (count + 1) / 2; }));
    over = true;
    for (auto& each : receivers) {
      each.join();
    }
  });
}

TEST_P(timeout_test, deadline_scopes_tell_who_it_was) {
  on_fiber_and_thread([] {
    cancel_scope by_deadline(clock::now() + 1us);
    EXPECT_FALSE(by_deadline.run(never));
    EXPECT_TRUE(by_deadline.deadline_expired());
    EXPECT_TRUE(by_deadline.cancel_requested());
    this_fiber::yield();  // is covered by it no more

    const auto by_hand = std::make_unique<cancel_scope>(time_point::max());
    by_hand->cancel();
    EXPECT_TRUE(by_hand->cancel_requested());
    EXPECT_FALSE(by_hand->deadline_expired());
  });
}

TEST_P(timeout_test, a_computation_that_never_waits_is_not_cut_short_but_its_next_wait_is) {
  on_fiber_and_thread([] {
    cancel_scope scope(clock::now() + 1ms);
    bool computed = false;
    EXPECT_FALSE(scope.run([&] {
      const auto end = clock::now() + 3ms;
      while (clock::now() < end) {
      }
      computed = true;
      for (;;) {
        this_fiber::checkpoint();  // the clock of a worker is read once a turn, so not necessarily the first
      }
    }));
    EXPECT_TRUE(computed);
  });
}

TEST_P(timeout_test, thousands_of_deadlines_at_once) {
  run([] {
    const int count = sanitized ? 200 : 5000;
    std::vector<fiber<int>> fibers;
    for (int i = 0; i < count; ++i) {
      fibers.push_back(spawn([i] {
        int ends = 0;
        for (int n = 0; n < 3; ++n) {
          ends += try_with_timeout(std::chrono::microseconds((i * 37 + n * 101) % 3000), never) ? 1 : 0;
        }
        return ends;
      }));
    }
    for (auto& each : fibers) {
      EXPECT_EQ(each.join(), 0);
    }
  });
}

TEST_P(timeout_test, nobody_wakes_before_the_deadline) {
  run([] {
    std::vector<fiber<>> fibers;
    const auto base = clock::now();
    for (int i = 0; i < 50; ++i) {
      fibers.push_back(spawn([base, i] {
        const auto deadline = base + i * 137us;
        this_fiber::sleep_until(deadline);
        EXPECT_GE(clock::now(), deadline);
      }));
    }
    for (auto& each : fibers) {
      each.join();
    }
  });
}

TEST_P(timeout_test, a_shield_with_a_grace_lets_a_clean_up_end_or_cuts_it_short) {
  run([] {
    int cleaned = 0;
    auto fiber = spawn([&] {
      try {
        sleep_until_cancelled();
      } catch (const cancelled&) {
        // The fiber is cancelled: without a shield nothing would suspend.
        EXPECT_EQ(shield_for(1h, [&] {
                    this_fiber::sleep_for(1ms);
                    ++cleaned;
                    return 5;
                  }),
                  5);
        EXPECT_FALSE(shield_for(1ms, [&] {
          sleep_until_cancelled();
          ++cleaned;
        }));
        EXPECT_THROW(this_fiber::yield(), cancelled);  // outside nothing has changed
        throw;
      }
    });
    this_fiber::sleep_for(1ms);
    fiber.cancel();
    EXPECT_THROW(fiber.join(), fiber_cancelled);
    EXPECT_EQ(cleaned, 1);
  });
}

}  // namespace
}  // namespace aramid::test
