// run and runtime: how fibers get in, what is waited for, and that nothing outlives the end.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/mutex.hpp>
#include <aramid/run.hpp>

#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

class run_test : public runtime_test {
protected:
  [[nodiscard]] static options opts() { return {.workers = workers()}; }
};

INSTANTIATE_TEST_SUITE_P(workers, run_test, worker_counts);

// --- run -------------------------------------------------------------------------------------------------------------

TEST_P(run_test, returns_what_the_root_returns) {
  EXPECT_EQ(aramid::run([] { return 42; }, opts()), 42);
  EXPECT_EQ(*aramid::run([] { return std::make_unique<int>(7); }, opts()), 7);
  int variable = 0;
  int& same = aramid::run([&]() -> int& { return variable; }, opts());
  EXPECT_EQ(&same, &variable);
  aramid::run([&] { variable = 3; }, opts());
  EXPECT_EQ(variable, 3);
  EXPECT_EQ(aramid::run([owned = std::make_unique<int>(5)] { return *owned; }, opts()), 5);
}

TEST_P(run_test, throws_what_the_root_throws) {
  EXPECT_THROW(aramid::run([] { throw std::out_of_range("root"); }, opts()), std::out_of_range);
  EXPECT_THROW(aramid::run([]() -> int { throw 4; }, opts()), int);
}

TEST_P(run_test, the_default_is_one_worker_per_usable_cpu) {
  EXPECT_GE(aramid::run([] { return stats().workers; }), 1U);
  EXPECT_EQ(aramid::run([] { return stats().workers; }, opts()), workers());
}

TEST_P(run_test, inside_a_fiber_it_is_refused) {
  aramid::run(
      [] {
        EXPECT_THROW(aramid::run([] {}), std::logic_error);
        EXPECT_EQ(stats().fibers, 1U);
      },
      opts());
}

TEST_P(run_test, fibers_left_behind_are_cancelled_and_joined) {
  std::atomic<int> cleaned{0};
  struct on_exit {
    std::atomic<int>& count;
    ~on_exit() {
      const shield guard;
      this_fiber::sleep_for(1ms);  // run waits for this as well
      ++count;
    }
  };
  aramid::run(
      [&] {
        std::atomic<int> waiting{0};
        for (int i = 0; i < 50; ++i) {
          spawn([&] {
            const on_exit mark{cleaned};
            ++waiting;
            sleep_until_cancelled();
          }).detach();
        }
        EXPECT_TRUE(eventually([&] { return waiting == 50; }));
      },
      opts());
  EXPECT_EQ(cleaned, 50);
}

TEST_P(run_test, what_detached_fibers_spawn_while_they_are_cancelled_is_ended_too) {
  std::atomic<int> begun{0};
  std::atomic<int> ended{0};
  std::atomic<int> never{0};
  aramid::run(
      [&] {
        for (int i = 0; i < 20; ++i) {
          spawn([&] {
            ++begun;
            try {
              sleep_until_cancelled();
            } catch (const cancelled&) {
              for (int n = 0; n < 5; ++n) {
                spawn([&] { ++never; }).detach();  // born cancelled
              }
              auto joined = spawn([&] { ++never; });
              EXPECT_THROW(shield::run([&] { joined.join(); }), fiber_cancelled);
              ++ended;
              throw;
            }
          }).detach();
        }
        EXPECT_TRUE(eventually([&] { return begun == 20; }));
      },
      opts());
  EXPECT_EQ(ended, 20);
  EXPECT_EQ(never, 0);
}

TEST_P(run_test, the_root_fails_and_the_others_are_joined_all_the_same) {
  std::atomic<bool> ended{false};
  EXPECT_THROW(aramid::run(
                   [&] {
                     std::atomic<bool> waits{false};
                     spawn([&] {
                       try {
                         waits = true;
                         sleep_until_cancelled();
                       } catch (const cancelled&) {
                         const shield guard;
                         for (int i = 0; i < 100; ++i) {
                           this_fiber::yield();
                         }
                         ended = true;
                         throw;
                       }
                     }).detach();
                     EXPECT_TRUE(eventually([&] { return waits.load(); }));
                     throw std::runtime_error("root");
                   },
                   opts()),
               std::runtime_error);
  EXPECT_TRUE(ended);
}

// --- runtime ---------------------------------------------------------------------------------------------------------

TEST_P(run_test, many_runtimes_in_a_row) {
  for (int i = 0; i < scaled(500, 30); ++i) {
    runtime rt(opts());
    if (i % 3 == 0) {
      continue;  // never used
    }
    auto f = rt.spawn([i] { return i; });
    if (i % 3 == 1) {
      ASSERT_EQ(f.join(), i);
    } else {
      f.detach();
    }
  }
}

TEST_P(run_test, several_runtimes_at_once) {
  runtime a(opts());
  runtime b(opts());
  std::atomic<bool> go{false};
  // Fibers of one wait for fibers of the other, which spawn in the first.
  auto in_a = a.spawn([&] {
    auto in_b = b.spawn([&] {
      EXPECT_EQ(stats().workers, workers());
      auto back = a.spawn([&] {
        EXPECT_TRUE(eventually([&] { return go.load(); }));
        return 1;
      });
      auto here = spawn([] { return 10; });
      return back.join() + here.join();
    });
    return in_b.join() + 100;
  });
  go = true;
  EXPECT_EQ(in_a.join(), 111);
  EXPECT_GE(a.stats().spawned, 2U);
  EXPECT_GE(b.stats().spawned, 2U);
}

TEST_P(run_test, runtimes_are_made_inside_fibers_of_others) {
  aramid::run(
      [] {
        runtime inner(options{.workers = 2});
        EXPECT_EQ(inner.spawn([] { return 3; }).join(), 3);
        EXPECT_THROW((void)inner.spawn([] { throw 1; }).join(), int);
        inner.stop(1s);
      },
      opts());
}

TEST_P(run_test, two_runtimes_wake_each_other_without_end) {
  runtime a(opts());
  runtime b(opts());
  mutex lock;
  long total = 0;
  const int rounds = scaled(5000, 100);
  std::vector<fiber<>> fibers;
  for (int i = 0; i < 8; ++i) {
    fibers.push_back((i % 2 == 0 ? a : b).spawn([&] {
      for (int n = 0; n < rounds; ++n) {
        lock.lock();
        ++total;
        this_fiber::yield();
        lock.unlock();
      }
    }));
  }
  for (auto& each : fibers) {
    each.join();
  }
  EXPECT_EQ(total, 8L * rounds);
}

TEST_P(run_test, options_are_validated) {
  EXPECT_THROW(runtime(options{.workers = 1'000'000}), std::invalid_argument);
  EXPECT_THROW(runtime(options{.workers = workers(), .stack_size_bytes = std::size_t{1} << 50}), std::invalid_argument);
  EXPECT_THROW(aramid::run([] {}, options{.workers = 1025}), std::invalid_argument);
  try {
    runtime refused(options{.workers = 1'000'000});
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("workers"), std::string::npos);
  }
  try {
    runtime refused(options{.workers = 1, .stack_size_bytes = SIZE_MAX});
    ADD_FAILURE();
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("stack_size_bytes"), std::string::npos);
  }
  // Small and odd is fine: rounded up.
  EXPECT_EQ(aramid::run([] { return 1; }, options{.workers = workers(), .stack_size_bytes = 20'001}), 1);
}

TEST_P(run_test, many_workers) {
  constexpr unsigned count = 64;
  runtime rt(options{.workers = count});
  std::vector<fiber<int>> fibers;
  for (int i = 0; i < 200; ++i) {
    fibers.push_back(rt.spawn([i] {
      this_fiber::yield();
      return i;
    }));
  }
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(fibers[static_cast<std::size_t>(i)].join(), i);
  }
  EXPECT_EQ(rt.stats().workers, count);
}

TEST_P(run_test, an_entered_thread_belongs_to_the_runtime) {
  runtime a(opts());
  runtime b(options{.workers = 1});
  EXPECT_THROW((void)stats(), std::logic_error);
  {
    const auto in_a = a.enter();
    EXPECT_EQ(stats().workers, workers());
    EXPECT_EQ(spawn([] { return 1; }).join(), 1);
    {
      const auto in_b = b.enter();
      EXPECT_EQ(spawn([] { return 2; }).join(), 2);
      EXPECT_EQ(b.stats().spawned, 1U);
    }
    EXPECT_EQ(spawn([] { return 3; }).join(), 3);
    EXPECT_EQ(a.stats().spawned, 2U);
    // Only this thread: not another.
    std::thread([] { EXPECT_THROW((void)spawn([] {}), std::logic_error); }).join();
  }
  EXPECT_THROW((void)spawn([] {}), std::logic_error);
}

TEST_P(run_test, threads_spawn_at_the_same_time) {
  runtime rt(opts());
  const no_fiber_left check{rt};
  std::atomic<int> ran{0};
  std::vector<std::thread> threads;
  const int rounds = scaled(3000, 50);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const auto entered = rt.enter();
      for (int n = 0; n < rounds; ++n) {
        if (i % 2 == 0) {
          spawn([&] { ++ran; }).join();
        } else {
          rt.spawn([&] { ++ran; }).detach();
        }
      }
    });
  }
  for (auto& each : threads) {
    each.join();
  }
  EXPECT_TRUE(eventually([&] { return ran == 4 * rounds; }));
}

// --- stop ------------------------------------------------------------------------------------------------------------

TEST_P(run_test, stop_lets_fibers_end_within_the_grace) {
  runtime rt(opts());
  std::atomic<int> ended{0};
  for (int i = 0; i < 10; ++i) {
    rt.spawn([&] {
        this_fiber::sleep_for(5ms);
        spawn([&] {
          this_fiber::sleep_for(5ms);
          ++ended;
        }).detach();
        ++ended;
      }).detach();
  }
  rt.stop(1h);  // returns as soon as they have ended, or this test times out
  EXPECT_EQ(ended, 20);
  EXPECT_EQ(rt.stats().fibers, 0U);
}

TEST_P(run_test, stop_cancels_what_is_left_after_the_grace) {
  runtime rt(opts());
  auto f = rt.spawn([] { sleep_until_cancelled(); });
  rt.stop(1ms);
  EXPECT_TRUE(f.done());
  EXPECT_THROW(f.join(), fiber_cancelled);
  rt.stop();
  rt.stop(1h);
}

TEST_P(run_test, after_stop_nothing_can_be_spawned) {
  runtime rt(opts());
  rt.stop();
  EXPECT_THROW((void)rt.spawn([] {}), std::logic_error);
  const auto entered = rt.enter();
  EXPECT_THROW((void)spawn([instance = counted{}] {}), std::logic_error);
  EXPECT_EQ(counted::alive(), 0);
  EXPECT_EQ(rt.stats().fibers, 0U);
}

TEST_P(run_test, stop_from_a_fiber_of_its_own_is_refused) {
  runtime rt(opts());
  rt.spawn([&] { EXPECT_THROW(rt.stop(1s), std::logic_error); }).join();
}

TEST_P(run_test, stop_from_several_threads_while_others_spawn) {
  for (int i = 0; i < scaled(200, 15); ++i) {
    runtime rt(opts());
    std::atomic<int> begun{0};
    std::atomic<int> admitted{0};
    std::atomic<int> ended{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        try {
          for (;;) {
            rt.spawn([&] {
                struct on_exit {
                  std::atomic<int>& count;
                  ~on_exit() { ++count; }
                } const mark{ended};
                ++begun;
                sleep_until_cancelled();
              }).detach();
            ++admitted;
          }
        } catch (const std::logic_error&) {  // stopped
        }
      });
    }
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        EXPECT_TRUE(eventually([&] { return admitted > 20; }));
        rt.stop();
        EXPECT_EQ(rt.stats().fibers, 0U);
      });
    }
    for (auto& each : threads) {
      each.join();
    }
    ASSERT_EQ(begun, ended);
    ASSERT_LE(begun, admitted);
  }
}

TEST_P(run_test, throwing_spawns_race_with_stop) {
  struct throwing {
    throwing() = default;
    throwing(const throwing&) { throw std::runtime_error("copy"); }
    void operator()() const {}
  };
  for (int i = 0; i < scaled(300, 20); ++i) {
    runtime rt(opts());
    std::atomic<bool> begun{false};
    std::thread spawner([&] {
      const throwing fn;
      for (;;) {
        try {
          (void)rt.spawn(fn);
        } catch (const std::runtime_error&) {  // the copy
        } catch (const std::logic_error&) {    // stopped
          return;
        }
        begun = true;
      }
    });
    EXPECT_TRUE(eventually([&] { return begun.load(); }));
    rt.stop();
    spawner.join();
    ASSERT_EQ(rt.stats().fibers, 0U);
  }
}

TEST_P(run_test, woken_by_a_thread_while_the_runtime_ends) {
  // The fiber that a thread wakes may be the last: the runtime may then end while the waker is still inside `unpark`.
  for (int i = 0; i < scaled(1000, 100); ++i) {
    std::atomic<bool> published{false};
    park_token token;
    std::thread waker;
    {
      runtime rt(opts());
      auto f = rt.spawn([&] {
        parker wait;
        token = wait.token();
        published = true;
        (void)wait.park();
      });
      waker = std::thread([&] {
        while (!published) {
        }
        EXPECT_TRUE(unpark(token));
      });
      f.join();
    }
    waker.join();
  }
}

TEST_P(run_test, woken_by_another_runtime_while_this_one_ends) {
  runtime wakers(opts());
  for (int i = 0; i < scaled(1000, 100); ++i) {
    std::atomic<bool> published{false};
    park_token token;
    fiber<> waker;
    {
      runtime rt(options{.workers = 1 + static_cast<unsigned>(i) % 2});
      auto f = rt.spawn(fiber_options{.pinned = i % 3 == 0}, [&] {
        parker wait;
        token = wait.token();
        published = true;
        (void)wait.park();
      });
      waker = wakers.spawn([&] {
        EXPECT_TRUE(eventually([&] { return published.load(); }));
        EXPECT_TRUE(unpark(token));
      });
      f.join();
    }
    waker.join();
  }
}

// --- stats, log ------------------------------------------------------------------------------------------------------

TEST_P(run_test, stats_count) {
  runtime rt(opts());
  EXPECT_EQ(rt.stats().fibers, 0U);
  EXPECT_EQ(rt.stats().spawned, 0U);
  EXPECT_EQ(rt.stats().stacks, 0U);
  EXPECT_EQ(rt.stats().driver, "none");
  std::atomic<int> waiting{0};
  std::vector<fiber<>> fibers;
  for (int i = 0; i < 100; ++i) {
    fibers.push_back(rt.spawn([&] {
      ++waiting;
      sleep_until_cancelled();
    }));
  }
  EXPECT_TRUE(eventually([&] { return waiting == 100; }));
  EXPECT_EQ(rt.stats().fibers, 100U);
  EXPECT_EQ(rt.stats().spawned, 100U);
  EXPECT_GE(rt.stats().switches, 100U);
  EXPECT_GE(rt.stats().stacks, 100U);
  fibers.clear();
  EXPECT_TRUE(eventually([&] { return rt.stats().fibers == 0; }));
  EXPECT_EQ(rt.stats().spawned, 100U);
  EXPECT_EQ(rt.stats().submissions, 0U);
  if (workers() == 1) {
    EXPECT_EQ(rt.stats().migrations, 0U);
    EXPECT_EQ(rt.stats().steals, 0U);
  }
}

TEST_P(run_test, stats_may_be_read_while_everything_moves) {
  runtime rt(opts());
  std::atomic<bool> stop{false};
  auto busy = rt.spawn([&] {
    while (!stop) {
      spawn(fiber_options{.stack_size_bytes = std::size_t{32} << (10 + (stats().spawned % 3))}, [] {
        this_fiber::yield();
      }).join();
    }
  });
  for (int i = 0; i < scaled(1000, 100); ++i) {
    const statistics now = rt.stats();
    ASSERT_LE(now.fibers, 3U);
    ASSERT_EQ(now.workers, workers());
  }
  stop = true;
  busy.join();
}

TEST_P(run_test, the_log_handler_is_replaced_and_restored) {
  std::atomic<int> first{0};
  set_log_handler([&](std::string_view) { ++first; });
  {
    captured_log second;
    aramid::run(
        [] {
          auto f = spawn([] { throw std::runtime_error("logged"); });
          EXPECT_TRUE(eventually([&] { return f.done(); }));
        },
        opts());
    EXPECT_EQ(second.count("logged"), 1U);
  }
  set_log_handler({});
  EXPECT_EQ(first, 0);
  testing::internal::CaptureStderr();
  aramid::run(
      [] {
        auto f = spawn([] { throw std::runtime_error("to stderr"); });
        EXPECT_TRUE(eventually([&] { return f.done(); }));
      },
      opts());
  EXPECT_NE(testing::internal::GetCapturedStderr().find("to stderr"), std::string::npos);
}

TEST_P(run_test, a_root_joined_from_a_cancelled_scope_is_cancelled_and_joined) {
  std::atomic<bool> waits{false};
  std::atomic<bool> unwound{false};
  cancel_scope scope;
  std::thread canceller([&] {
    EXPECT_TRUE(eventually([&] { return waits.load(); }));
    scope.cancel();
  });
  const bool whole = scope.run([&] {
    aramid::run(
        [&] {
          struct on_exit {
            std::atomic<bool>& set;
            ~on_exit() { set = true; }
          } const mark{unwound};
          waits = true;
          sleep_until_cancelled();
        },
        opts());
  });
  canceller.join();
  EXPECT_FALSE(whole);
  EXPECT_TRUE(unwound);
}

}  // namespace
}  // namespace aramid::test
