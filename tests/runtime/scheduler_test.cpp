// The scheduler: work spreads, nobody starves, nobody is stranded behind a hog, idle is idle, stacks are guarded and reused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/channel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/mutex.hpp>
#include <aramid/park.hpp>
#include <aramid/run.hpp>
#include <aramid/timeout.hpp>

#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

class scheduler_test : public runtime_test {};

INSTANTIATE_TEST_SUITE_P(workers, scheduler_test, worker_counts);

using scheduler_on_one_worker = leaves_nothing;
using scheduler_on_two_workers = leaves_nothing;
using scheduler_death_test = leaves_nothing;

/// Holds the thread without suspending.
void hog(clock::duration d) {
  for (const auto end = clock::now() + d; clock::now() < end;) {
  }
}

// --- spreading -------------------------------------------------------------------------------------------------------

TEST_P(scheduler_test, fresh_fibers_are_stolen) {
  runtime rt(options{.workers = workers()});
  std::atomic<bool> stop{false};
  std::atomic<int> others{0};
  // The spawner never suspends until another worker has run one of its children.
  auto spawner = rt.spawn([&] {
    const auto home = std::this_thread::get_id();
    std::vector<fiber<>> children;
    for (int i = 0; i < 64; ++i) {
      children.push_back(spawn([&, home] { others += std::this_thread::get_id() != home ? 1 : 0; }));
    }
    if (workers() > 1) {
      while (others == 0) {
      }
    }
    for (auto& each : children) {
      each.join();
    }
  });
  spawner.join();
  if (workers() == 1) {
    EXPECT_EQ(others, 0);
    EXPECT_EQ(rt.stats().steals, 0U);
    EXPECT_EQ(rt.stats().migrations, 0U);
  } else {
    EXPECT_GT(others, 0);
    EXPECT_GT(rt.stats().steals, 0U);
  }
}

TEST_P(scheduler_test, suspended_fibers_migrate) {
  if (workers() == 1) {
    GTEST_SKIP() << "there is nowhere to go";
  }
  runtime rt(options{.workers = workers()});
  std::atomic<bool> stop{false};
  std::vector<fiber<>> fibers;
  for (int i = 0; i < 32; ++i) {
    fibers.push_back(rt.spawn([&] {
      while (!stop) {
        // Workers that are all busy have no reason to steal; sleeps make them idle in turn.
        this_fiber::yield();
        this_fiber::sleep_for(10us);
      }
    }));
  }
  EXPECT_TRUE(eventually([&] { return rt.stats().migrations > 10 && rt.stats().steals > 10; }));
  stop = true;
  for (auto& each : fibers) {
    each.join();
  }
}

TEST_P(scheduler_test, fibers_injected_by_threads_run_while_the_workers_are_busy) {
  runtime rt(options{.workers = workers()});
  std::atomic<bool> stop{false};
  std::vector<fiber<>> busy;
  for (unsigned i = 0; i < 4 * workers(); ++i) {
    busy.push_back(rt.spawn([&] {
      while (!stop) {
        this_fiber::yield();
      }
    }));
  }
  for (int i = 0; i < scaled(500, 20); ++i) {
    ASSERT_EQ(rt.spawn([i] { return i; }).join(), i);
  }
  stop = true;
  for (auto& each : busy) {
    each.join();
  }
}

TEST_P(scheduler_test, thousands_of_parked_fibers) {
  run([] {
    const int count = sanitized ? 500 : 20'000;
    std::vector<fiber<>> fibers;
    mutex lock;
    int passed = 0;
    lock.lock();
    for (int i = 0; i < count; ++i) {
      fibers.push_back(spawn([&] {
        const std::lock_guard guard(lock);
        ++passed;
      }));
    }
    lock.unlock();
    for (auto& each : fibers) {
      each.join();
    }
    EXPECT_EQ(passed, count);
  });
}

// --- order and fairness ----------------------------------------------------------------------------------------------

TEST_F(scheduler_on_one_worker, two_fibers_that_yield_alternate) {
  aramid::run(
      [] {
        std::array<int, 2> turns{};
        int worst = 0;
        const auto body = [&](std::size_t me) {
          for (int i = 0; i < 1000; ++i) {
            ++turns[me];
            worst = std::max(worst, std::abs(turns[0] - turns[1]));
            this_fiber::yield();
          }
        };
        auto a = spawn(body, 0U);
        auto b = spawn(body, 1U);
        a.join();
        b.join();
        EXPECT_LE(worst, 2);
      },
      options{.workers = 1});
}

TEST_F(scheduler_on_one_worker, code_between_two_suspensions_is_atomic) {
  aramid::run(
      [] {
        int total = 0;  // plain
        std::vector<fiber<>> fibers;
        for (int i = 0; i < 16; ++i) {
          fibers.push_back(spawn([&] {
            for (int n = 0; n < 1000; ++n) {
              const int seen = total;
              hog(seen % 64 == 0 ? 1us : 0us);
              total = seen + 1;
              this_fiber::yield();
            }
          }));
        }
        for (auto& each : fibers) {
          each.join();
        }
        EXPECT_EQ(total, 16'000);
      },
      options{.workers = 1});
}

// Whatever level of the wheel they come from (timer_wheel.hpp), and whoever was armed first.
TEST_F(scheduler_on_one_worker, timers_that_are_late_fire_in_the_order_of_their_deadlines) {
  aramid::run(
      [] {
        std::mt19937_64 random(1);
        for (const auto step : {10us, 100us, 2000us}) {
          constexpr int sleepers = 20;
          std::array<int, sleepers> turns{};
          std::iota(turns.begin(), turns.end(), 0);
          std::vector<int> order;
          bool all_slept = false;
          for (auto lead = 20ms; !all_slept; lead *= 2) {  // again, with more time, if the first was due before the last slept
            std::shuffle(turns.begin(), turns.end(), random);
            order.clear();
            std::vector<fiber<>> fibers;
            const auto base = clock::now() + lead;
            for (const int turn : turns) {
              fibers.push_back(spawn([&, turn] {
                this_fiber::sleep_until(base + turn * step);
                order.push_back(turn);
              }));
            }
            for (int i = 0; i < sleepers; ++i) {
              this_fiber::yield();  // they all sleep now
            }
            all_slept = clock::now() < base;
            hog(base + sleepers * step - clock::now());
            for (auto& each : fibers) {
              each.join();
            }
          }
          EXPECT_TRUE(std::is_sorted(order.begin(), order.end())) << step.count() << " µs: " << ::testing::PrintToString(order);
        }
      },
      options{.workers = 1});
}

TEST_F(scheduler_on_one_worker, a_pair_that_wakes_each_other_does_not_starve_the_rest) {
  aramid::run(
      [] {
        bool stop = false;
        channel<int> there;
        channel<int> back;
        auto ping = spawn([&] {
          for (int i = 0; i < 1'000'000 && !stop; ++i) {
            there.send(i);
            (void)back.receive();
          }
          there.close();
        });
        auto pong = spawn([&] {
          while (const auto item = there.receive()) {
            back.send(*item);
          }
        });
        auto ready = spawn([&] {
          for (int i = 0; i < 100; ++i) {
            this_fiber::yield();
          }
          auto fresh = spawn([] {});
          fresh.join();
          stop = true;
        });
        ready.join();
        EXPECT_TRUE(stop);
        EXPECT_FALSE(ping.done());
        ping.join();
        pong.join();
      },
      options{.workers = 1});
}

TEST_F(scheduler_on_one_worker, the_oldest_fresh_fiber_is_not_starved_by_newer_ones) {
  aramid::run(
      [] {
        bool oldest_ran = false;
        auto oldest = spawn([&] { oldest_ran = true; });
        // Each spawns the next and waits for it: newest first would follow this chain to its end.
        struct chain {
          static void link(const bool& stop, int left) {
            if (!stop && left > 0) {
              auto next = spawn(&chain::link, std::cref(stop), left - 1);
              this_fiber::yield();
              next.join();
            }
          }
        };
        auto newer = spawn(&chain::link, std::cref(oldest_ran), 5000);
        while (!oldest_ran) {
          this_fiber::yield();
        }
        newer.join();
        oldest.join();
      },
      options{.workers = 1});
}

TEST_F(scheduler_on_one_worker, a_fiber_whose_waits_are_always_ready_gives_way) {
  aramid::run(
      [] {
        bool other_ran = false;
        auto other = spawn([&] { other_ran = true; });
        channel<int> items(2);
        mutex lock;
        int rounds = 0;
        for (; rounds < 100'000 && !other_ran; ++rounds) {
          items.send(1);  // has room
          const std::lock_guard guard(lock);  // is free
          (void)items.receive();  // has an item
        }
        EXPECT_TRUE(other_ran) << "after " << rounds << " rounds of three waits";
        other.join();

        bool again = false;
        auto computing = spawn([&] { again = true; });
        for (int i = 0; i < 100'000 && !again; ++i) {
          this_fiber::checkpoint();
        }
        EXPECT_TRUE(again);
      },
      options{.workers = 1});
}

// --- hogs --------------------------------------------------------------------------------------------------------------

/// A fiber that has the thread until `release` is set, or too long.
class hogging_fiber {
public:
  explicit hogging_fiber(runtime& rt, std::function<void()> before = [] {}) {
    fiber_ = rt.spawn([this, before = std::move(before)] {
      before();
      begun_ = true;
      const auto patience = clock::now() + 20s;
      while (!release && clock::now() < patience) {
      }
      EXPECT_TRUE(release) << "nobody made progress beside the hog";
    });
  }
  ~hogging_fiber() {
    release = true;
    fiber_.join();
  }
  [[nodiscard]] bool begun() const { return begun_; }

  std::atomic<bool> release{false};

private:
  std::atomic<bool> begun_{false};
  fiber<> fiber_;
};

TEST_F(scheduler_on_two_workers, ready_fibers_behind_a_hog_are_run_by_the_other) {
  runtime rt(options{.workers = 2});
  std::atomic<int> ran{0};
  constexpr int count = 50;
  hogging_fiber hog(rt, [&] {
    // Fresh ones, woken ones, and the one woken last: all on the hog's own queues.
    std::vector<park_token> tokens(3);
    std::atomic<int> parked{0};
    for (auto& token : tokens) {
      spawn([&ran, &token, &parked] {
        {
          parker wait;
          token = wait.token();
          ++parked;
          (void)wait.park();
        }
        ++ran;
      }).detach();
    }
    EXPECT_TRUE(eventually([&] { return parked == 3; }));
    for (int i = 0; i < count; ++i) {
      spawn([&] { ++ran; }).detach();
    }
    for (const auto& token : tokens) {
      EXPECT_TRUE(unpark(token));
    }
  });
  EXPECT_TRUE(eventually([&] { return ran == count + 3; }));
}

TEST_F(scheduler_on_two_workers, timers_of_a_hogs_worker_fire) {
  runtime rt(options{.workers = 2});
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> woke{0};
    std::atomic<int> asleep{0};
    constexpr int count = 8;
    hogging_fiber hog(rt, [&] {
      for (int i = 0; i < count; ++i) {
        spawn([&] {
          ++asleep;
          this_fiber::sleep_for(30ms);
          ++woke;
        }).detach();
      }
      EXPECT_TRUE(eventually([&] { return asleep == count; }));
    });
    EXPECT_TRUE(eventually([&] { return hog.begun(); }));
    EXPECT_TRUE(eventually([&] { return woke == count; }));
  }
  EXPECT_GT(rt.stats().helps + rt.stats().steals, 0U);
}

TEST_F(scheduler_on_two_workers, threads_reach_a_runtime_with_a_hog) {
  runtime rt(options{.workers = 2});
  hogging_fiber hog(rt);
  EXPECT_TRUE(eventually([&] { return hog.begun(); }));
  for (int i = 0; i < scaled(300, 20); ++i) {
    ASSERT_EQ(rt.spawn([i] {
                  this_fiber::sleep_for(10us);
                  return i;
                }).join(),
              i);
  }
}

// A worker looks at its timers every 64 fibers, and that is two thirds of a second here.
TEST_F(scheduler_on_two_workers, timers_fire_between_fibers_that_all_compute) {
  runtime rt(options{.workers = 2});
  std::atomic<bool> over{false};
  std::atomic<int> turns{0};
  std::vector<fiber<>> computing;
  for (int i = 0; i < 6; ++i) {
    computing.push_back(rt.spawn([&] {
      while (!over) {
        ++turns;
        for (const auto end = clock::now() + 10ms; clock::now() < end;) {
        }
        this_fiber::yield();
      }
    }));
  }
  int fewest = 1'000'000;
  rt.spawn([&] {
      for (int i = 0; i < 5; ++i) {
        const int before = turns;
        this_fiber::sleep_for(1ms);
        fewest = std::min(fewest, turns - before);
      }
      over = true;
    }).join();
  EXPECT_LT(fewest, 64) << "on both workers together: half of what it takes if each comes to its 64th fiber first";
  for (auto& each : computing) {
    each.join();
  }
}

TEST_F(scheduler_on_two_workers, channels_go_on_beside_a_hog) {
  runtime rt(options{.workers = 2});
  hogging_fiber hog(rt);
  EXPECT_TRUE(eventually([&] { return hog.begun(); }));
  channel<int> items;
  auto sender = rt.spawn([&] {
    for (int i = 0; i < scaled(5000, 100); ++i) {
      items.send(1);
    }
    items.close();
  });
  auto receiver = rt.spawn([&] {
    int sum = 0;
    while (const auto item = items.receive()) {
      sum += *item;
    }
    return sum;
  });
  EXPECT_EQ(receiver.join(), scaled(5000, 100));
  sender.join();
}

TEST_F(scheduler_on_two_workers, hogs_that_come_and_go) {
  runtime rt(options{.workers = 2});
  std::atomic<int> ran{0};
  std::vector<fiber<>> fibers;
  for (int i = 0; i < 40; ++i) {
    fibers.push_back(rt.spawn([&, i] {
      for (int n = 0; n < 20; ++n) {
        if (i == 0) {
          hog(3ms);
        }
        this_fiber::sleep_for(std::chrono::microseconds(i * 7));
      }
      ++ran;
    }));
  }
  for (auto& each : fibers) {
    each.join();
  }
  EXPECT_EQ(ran, 40);
}

// --- idle --------------------------------------------------------------------------------------------------------------

TEST_P(scheduler_test, an_idle_runtime_does_not_wake) {
  runtime rt(options{.workers = workers()});
  auto parked = rt.spawn([] { sleep_until_cancelled(); });
  std::vector<fiber<>> burst;
  for (int i = 0; i < 50; ++i) {
    burst.push_back(rt.spawn([] { this_fiber::yield(); }));
  }
  for (auto& each : burst) {
    each.join();
  }
  // It comes to rest: two looks half a second apart agree. A runtime that wakes itself up never does.
  EXPECT_TRUE(eventually([&] {
    const auto before = rt.stats();
    std::this_thread::sleep_for(300ms);  // the test: that nothing happens meanwhile
    const auto after = rt.stats();
    return before.parks == after.parks && before.wakes == after.wakes && before.switches == after.switches;
  }));
  EXPECT_FALSE(parked.done());
}

TEST_P(scheduler_test, wakes_are_not_lost_between_busy_and_idle) {
  // One item at a time, so that the workers go to sleep between any two.
  runtime rt(options{.workers = workers()});
  channel<int> there;
  channel<int> back;
  auto echo = rt.spawn([&] {
    while (const auto item = there.receive()) {
      back.send(*item);
    }
  });
  for (int i = 0; i < scaled(20'000, 500); ++i) {
    there.send(i);
    ASSERT_EQ(back.receive(), i);
  }
  there.close();
  echo.join();
  EXPECT_GT(rt.stats().parks, 0U);
}

// --- stacks ------------------------------------------------------------------------------------------------------------

TEST_P(scheduler_test, stacks_are_reused) {
  runtime rt(options{.workers = workers()});
  rt.spawn([] {
      for (int i = 0; i < scaled(100'000, 2000); ++i) {
        spawn([] { this_fiber::yield(); }).join();
      }
    }).join();
  // A new one is made only where a worker has none left. Each of the others may keep as many as 64 then, that came to it with fibers it
  // took from this one: hardly ever, but on a machine that stops one thread for long.
  EXPECT_LT(rt.stats().stacks, 20U + 64U * (workers() - 1));
}

TEST_P(scheduler_test, fibers_that_never_suspend_share_a_stack) {
  runtime rt(options{.workers = workers()});
  rt.spawn([] {
      std::vector<fiber<>> fibers;
      for (int i = 0; i < scaled(50'000, 1000); ++i) {
        fibers.push_back(spawn([] {}));
      }
      for (auto& each : fibers) {
        each.join();
      }
    }).join();
  EXPECT_LT(rt.stats().stacks, 10U * (workers() + 1));
}

__attribute__((noinline)) int dig(int depth, volatile char* above) {  // NOLINT(misc-no-recursion): that is the test
  volatile char frame[1024];
  frame[0] = above != nullptr ? above[0] : '\1';
  frame[sizeof frame - 1] = frame[0];
  return depth == 0 ? frame[0] : dig(depth - 1, frame) + frame[sizeof frame - 1];
}

TEST_P(scheduler_test, deep_recursion_fits) {
  run([] {
    std::vector<fiber<int>> fibers;
    for (int i = 0; i < 20; ++i) {
      fibers.push_back(spawn(fiber_options{.stack_size_bytes = std::size_t{1} << 20}, [] {
        const int sum = dig(300, nullptr);
        this_fiber::yield();
        return sum;
      }));
    }
    for (auto& each : fibers) {
      EXPECT_EQ(each.join(), 301);
    }
  });
}

TEST_P(scheduler_test, the_fallback_guard_works_too) {
  ASSERT_EQ(setenv("ARAMID_GUARD", "mprotect", 1), 0);
  run([] {
    std::vector<fiber<>> fibers;
    for (int i = 0; i < 500; ++i) {
      fibers.push_back(spawn([] { this_fiber::sleep_for(1ms); }));
    }
    for (auto& each : fibers) {
      each.join();
    }
  });
  ASSERT_EQ(unsetenv("ARAMID_GUARD"), 0);
}

void overflow_in_a_fiber(const char* guard, std::size_t size) {
  if (guard != nullptr) {
    setenv("ARAMID_GUARD", guard, 1);
  }
  aramid::run([size] {
    spawn(fiber_options{.name = "bottomless", .stack_size_bytes = size}, [] { return dig(1'000'000, nullptr); }).join();
  });
}

TEST_F(scheduler_death_test, a_stack_overflow_names_the_fiber) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const std::size_t size : {std::size_t{0}, std::size_t{16} << 10, std::size_t{64} << 10, std::size_t{1} << 20}) {
    EXPECT_DEATH(overflow_in_a_fiber(nullptr, size), "stack overflow in fiber 'bottomless'");
  }
  EXPECT_DEATH(overflow_in_a_fiber("mprotect", 0), "stack overflow in fiber 'bottomless'");
}

TEST_F(scheduler_death_test, other_faults_are_left_alone) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto is_no_overflow = ::testing::Not(::testing::HasSubstr("stack overflow in fiber"));
  EXPECT_DEATH(aramid::run([] {
                 spawn(fiber_options{.name = "innocent"}, [] {
                   volatile std::uintptr_t nowhere = 8;
                   *reinterpret_cast<volatile int*>(nowhere) = 1;
                 }).join();
               }),
               is_no_overflow);
}

}  // namespace
}  // namespace aramid::test
