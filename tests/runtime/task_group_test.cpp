// task_group and with_task_group: who is cancelled by whose failure, which error comes out, and that nothing is left.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/mutex.hpp>
#include <aramid/run.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

class task_group_test : public runtime_test {};

INSTANTIATE_TEST_SUITE_P(workers, task_group_test, worker_counts);

std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  }
}

std::multiset<std::string> texts_of(const std::vector<std::exception_ptr>& errors) {
  std::multiset<std::string> texts;
  for (const auto& each : errors) {
    texts.insert(text_of(each));
  }
  return texts;
}

template <class Fn>
std::string failure_of(Fn fn) {
  try {
    fn();
    return "";
  } catch (const std::exception& error) {
    return error.what();
  }
}

[[noreturn]] void fail(const std::string& text) { throw std::runtime_error(text); }

// --- with_task_group -------------------------------------------------------------------------------------------------

TEST_P(task_group_test, returns_what_the_body_returns_when_every_child_has_ended) {
  run([] {
    std::atomic<int> ended{0};
    const int result = with_task_group([&](task_group& group) {
      for (int i = 0; i < 20; ++i) {
        group.spawn([&, i] {
          for (int n = 0; n < i; ++n) {
            this_fiber::yield();
          }
          ++ended;
        });
      }
      return 7;
    });
    EXPECT_EQ(result, 7);
    EXPECT_EQ(ended, 20);
    EXPECT_EQ(*with_task_group([](task_group&) { return std::make_unique<int>(3); }), 3);
    EXPECT_EQ(&with_task_group([&](task_group&) -> std::atomic<int>& { return ended; }), &ended);
    with_task_group([](task_group&) {});
  });
}

TEST_P(task_group_test, tasks_are_joined_for_their_results) {
  run([] {
    const int sum = with_task_group([](task_group& group) {
      auto left = group.spawn([] { return 1; });
      auto right = group.spawn([](int n) { return n; }, 2);
      task<int> copy_free = std::move(right);
      return left.join() + copy_free.join();
    });
    EXPECT_EQ(sum, 3);
  });
}

TEST_P(task_group_test, a_failing_child_cancels_its_siblings_and_the_body) {
  run([] {
    for (int round = 0; round < scaled(300, 20); ++round) {
      std::atomic<int> cancelled_ones{0};
      std::vector<std::exception_ptr> errors;
      const auto waits = [&] {
        try {
          sleep_until_cancelled();
        } catch (const cancelled&) {
          ++cancelled_ones;
          throw;
        }
      };
      const std::string failure = failure_of([&] {
        with_task_group(errors, [&](task_group& group) {
          std::atomic<int> ready{0};
          for (int i = 0; i < 5; ++i) {
            group.spawn([&] {
              ++ready;
              waits();
            });
          }
          EXPECT_TRUE(eventually([&] { return ready == 5; }));
          group.spawn([] { fail("child"); });
          waits();
        });
      });
      ASSERT_EQ(failure, "child");
      ASSERT_EQ(cancelled_ones, 6);
      ASSERT_EQ(texts_of(errors), (std::multiset<std::string>{"child"}));
    }
  });
}

TEST_P(task_group_test, a_failing_body_cancels_the_children) {
  run([] {
    std::atomic<int> ended{0};
    std::vector<std::exception_ptr> errors;
    EXPECT_EQ(failure_of([&] {
                with_task_group(errors, [&](task_group& group) -> int {
                  std::atomic<int> ready{0};
                  for (int i = 0; i < 5; ++i) {
                    group.spawn([&] {
                      struct on_exit {
                        std::atomic<int>& count;
                        ~on_exit() { ++count; }
                      } const mark{ended};
                      ++ready;
                      sleep_until_cancelled();
                    });
                  }
                  EXPECT_TRUE(eventually([&] { return ready == 5; }));
                  fail("body");
                });
              }),
              "body");
    EXPECT_EQ(ended, 5);
    EXPECT_EQ(texts_of(errors), (std::multiset<std::string>{"body"}));
  });
}

TEST_P(task_group_test, the_first_error_is_thrown_and_the_rest_is_reachable) {
  run([] {
    for (int round = 0; round < scaled(200, 20); ++round) {
      std::vector<std::exception_ptr> errors;
      const std::string failure = failure_of([&] {
        with_task_group(errors, [&](task_group& group) {
          for (int i = 0; i < 4; ++i) {
            group.spawn([i] {
              try {
                sleep_until_cancelled();
              } catch (const cancelled&) {
                fail("second " + std::to_string(i));
              }
            });
          }
          std::atomic<bool> go{false};
          group.spawn([&] {
            this_fiber::yield();
            fail("first");
          });
          try {
            sleep_until_cancelled();
          } catch (const cancelled&) {
            fail("body after");
          }
        });
      });
      ASSERT_EQ(failure, "first");
      ASSERT_FALSE(errors.empty());
      ASSERT_EQ(text_of(errors.front()), "first");
      const auto texts = texts_of(errors);
      ASSERT_EQ(texts.count("first"), 1U);
      ASSERT_EQ(texts.count("body after"), 1U);
      for (int i = 0; i < 4; ++i) {  // one that had not begun never ran
        ASSERT_LE(texts.count("second " + std::to_string(i)), 1U);
      }
      ASSERT_LE(errors.size(), 6U);
    }
  });
}

TEST_P(task_group_test, an_error_that_a_join_brings_into_the_body_is_reported_once) {
  run([] {
    for (int round = 0; round < scaled(500, 50); ++round) {
      std::vector<std::exception_ptr> errors;
      EXPECT_EQ(failure_of([&] {
                  with_task_group(errors, [&](task_group& group) {
                    auto child = group.spawn([] { fail("once"); });
                    for (int i = 0; i < round % 4; ++i) {
                      this_fiber::yield();
                    }
                    if (round % 2 == 0) {
                      child.join();
                    } else {
                      shield::run([&] { group.join(); });
                    }
                  });
                }),
                "once");
      ASSERT_EQ(texts_of(errors), (std::multiset<std::string>{"once"}));
    }
  });
}

TEST_P(task_group_test, a_child_that_fails_at_any_moment_is_reported_once) {
  run([] {
    for (int round = 0; round < scaled(2000, 100); ++round) {
      std::vector<std::exception_ptr> errors;
      const std::string failure = failure_of([&] {
        with_task_group(errors, [&](task_group& group) {
          group.spawn([round] {
            for (int i = 0; i < round % 5; ++i) {
              this_fiber::yield();
            }
            fail("once");
          });
          for (int i = 0; i < round % 3; ++i) {
            this_fiber::yield();
          }
        });
      });
      ASSERT_EQ(failure, "once");
      ASSERT_EQ(texts_of(errors), (std::multiset<std::string>{"once"}));
    }
  });
}

TEST_P(task_group_test, cancelled_from_outside_the_children_are_cancelled_and_cancelled_comes_out) {
  run([] {
    std::atomic<int> ended{0};
    std::atomic<int> ready{0};
    auto f = spawn([&] {
      with_task_group([&](task_group& group) {
        for (int i = 0; i < 5; ++i) {
          group.spawn([&] {
            struct on_exit {
              std::atomic<int>& count;
              ~on_exit() {
                this_fiber::sleep_for(1us);
                ++count;
              }
            } const mark{ended};
            ++ready;
            sleep_until_cancelled();
          });
        }
      });
      ADD_FAILURE();
    });
    EXPECT_TRUE(eventually([&] { return ready == 5; }));
    f.cancel();
    EXPECT_THROW(f.join(), fiber_cancelled);
    EXPECT_EQ(ended, 5);
  });
}

TEST_P(task_group_test, cancelled_from_outside_while_children_fail) {
  captured_log log;
  run([] {
    for (int round = 0; round < scaled(1000, 50); ++round) {
      std::atomic<bool> begun{false};
      auto f = spawn([&, round] {
        with_task_group([&](task_group& group) {
          group.spawn([round] {
            for (int i = 0; i < round % 4; ++i) {
              this_fiber::yield();
            }
            fail("child");
          });
          begun = true;
          sleep_until_cancelled();
        });
      });
      ASSERT_TRUE(eventually([&] { return begun.load(); }));
      f.cancel();
      try {
        f.join();
        ADD_FAILURE();
      } catch (const fiber_cancelled&) {
      } catch (const std::runtime_error& error) {
        ASSERT_STREQ(error.what(), "child");
      }
    }
  });
}

TEST_P(task_group_test, a_timeout_around_the_group_ends_it_all) {
  run([] {
    std::atomic<int> ended{0};
    EXPECT_THROW(with_timeout(2ms,
                              [&] {
                                with_task_group([&](task_group& group) {
                                  for (int i = 0; i < 5; ++i) {
                                    group.spawn([&] {
                                      struct on_exit {
                                        std::atomic<int>& count;
                                        ~on_exit() { ++count; }
                                      } const mark{ended};
                                      sleep_until_cancelled();
                                    });
                                  }
                                });
                              }),
                 timeout_error);
    EXPECT_EQ(ended % 6, ended);
  });
}

TEST_P(task_group_test, after_group_cancel_a_failing_child_still_ends_the_body) {
  run([] {
    EXPECT_EQ(failure_of([] {
                with_task_group([](task_group& group) {
                  std::atomic<bool> ready{false};
                  group.spawn([&] {
                    try {
                      ready = true;
                      sleep_until_cancelled();
                    } catch (const cancelled&) {
                      fail("while being cancelled");
                    }
                  });
                  EXPECT_TRUE(eventually([&] { return ready.load(); }));
                  group.cancel();
                  sleep_until_cancelled();
                });
              }),
              "while being cancelled");
  });
}

TEST_P(task_group_test, groups_nest) {
  run([] {
    std::atomic<int> ended{0};
    EXPECT_EQ(failure_of([&] {
                with_task_group([&](task_group& outer) {
                  for (int i = 0; i < 4; ++i) {
                    outer.spawn([&, i] {
                      struct on_exit {
                        std::atomic<int>& count;
                        ~on_exit() { ++count; }
                      } const mark{ended};
                      with_task_group([&](task_group& inner) {
                        for (int n = 0; n < 4; ++n) {
                          inner.spawn([&, i, n] {
                            const on_exit inner_mark{ended};
                            if (i == 3 && n == 3) {
                              EXPECT_TRUE(eventually([&] { return inner.size() == 4; }));
                              fail("innermost");
                            }
                            sleep_until_cancelled();
                          });
                        }
                      });
                    });
                  }
                });
              }),
              "innermost");
    EXPECT_LE(ended, 20);
  });
}

// --- task_group on its own -------------------------------------------------------------------------------------------

TEST_P(task_group_test, join_waits_for_what_children_spawn) {
  run([] {
    task_group group;
    std::atomic<int> ended{0};
    struct tree {
      static void grow(task_group& group, std::atomic<int>& ended, int depth) {
        if (depth > 0) {
          group.spawn(&tree::grow, std::ref(group), std::ref(ended), depth - 1);
          this_fiber::yield();
          group.spawn(&tree::grow, std::ref(group), std::ref(ended), depth - 1);
        }
        ++ended;
      }
    };
    constexpr int depth = sanitized ? 6 : 10;
    group.spawn(&tree::grow, std::ref(group), std::ref(ended), depth);
    group.join();
    EXPECT_EQ(ended, (2 << depth) - 1);
    EXPECT_EQ(group.size(), 0U);
    // And again.
    group.spawn([&] { ended = 0; });
    group.join();
    EXPECT_EQ(ended, 0);
    group.join();
  });
}

TEST_P(task_group_test, size_counts_the_living) {
  run([] {
    task_group group;
    std::atomic<bool> go{false};
    EXPECT_EQ(group.size(), 0U);
    for (int i = 0; i < 10; ++i) {
      group.spawn([&] { EXPECT_TRUE(eventually([&] { return go.load(); })); });
    }
    EXPECT_EQ(group.size(), 10U);
    go = true;
    group.join();
    EXPECT_EQ(group.size(), 0U);
  });
}

TEST_P(task_group_test, join_rethrows_the_first_error_and_cancels_the_others) {
  run([] {
    task_group group;
    auto waiting = group.spawn([] { sleep_until_cancelled(); });
    auto failing = group.spawn([] { fail("one"); });
    EXPECT_EQ(failure_of([&] { group.join(); }), "one");
    EXPECT_TRUE(waiting.done());
    EXPECT_EQ(texts_of(group.errors()), (std::multiset<std::string>{"one"}));
    EXPECT_THROW(waiting.join(), fiber_cancelled);
    EXPECT_THROW(failing.join(), std::runtime_error);
    // It is cancelled for good.
    bool ran = false;
    auto late = group.spawn([&] { ran = true; });
    EXPECT_THROW(shield::run([&] { late.join(); }), fiber_cancelled);
    EXPECT_FALSE(ran);
  });
}

TEST_P(task_group_test, a_join_that_is_cancelled_does_not_touch_the_children) {
  run([] {
    task_group group;
    std::atomic<bool> go{false};
    std::atomic<bool> ended{false};
    group.spawn([&] {
      EXPECT_TRUE(eventually([&] { return go.load(); }));
      ended = true;
    });
    cancel_scope scope(clock::now() + 1us);
    EXPECT_FALSE(scope.run([&] { group.join(); }));
    EXPECT_EQ(group.size(), 1U);
    go = true;
    shield::run([&] { group.join(); });
    EXPECT_TRUE(ended);
  });
}

TEST_P(task_group_test, cancel_ends_every_child_and_every_one_to_come) {
  run([] {
    task_group group;
    std::atomic<int> waiting{0};
    for (int i = 0; i < 20; ++i) {
      group.spawn([&] {
        ++waiting;
        sleep_until_cancelled();
      });
    }
    EXPECT_TRUE(eventually([&] { return waiting == 20; }));
    group.cancel();
    group.cancel();
    bool ran = false;
    group.spawn([&] { ran = true; });
    group.join();  // a cancellation is no error
    EXPECT_FALSE(ran);
    EXPECT_TRUE(group.errors().empty());
  });
}

TEST_P(task_group_test, the_destructor_cancels_and_joins_and_logs_what_nobody_heard) {
  captured_log log;
  run([] {
    std::atomic<int> ended{0};
    {
      task_group group;
      std::atomic<int> ready{0};
      for (int i = 0; i < 10; ++i) {
        group.spawn([&] {
          struct on_exit {
            std::atomic<int>& count;
            ~on_exit() {
              this_fiber::sleep_for(1us);
              ++count;
            }
          } const mark{ended};
          ++ready;
          sleep_until_cancelled();
        });
      }
      EXPECT_TRUE(eventually([&] { return ready == 10; }));
    }
    EXPECT_EQ(ended, 10);
    {
      task_group group;
      group.spawn(fiber_options{.name = "forgotten"}, [] { fail("unheard of"); });
      EXPECT_TRUE(eventually([&] { return group.size() == 0; }));
    }
    {
      task_group group;
      auto heard = group.spawn([] { fail("heard"); });
      EXPECT_THROW(heard.join(), std::runtime_error);
    }
  });
  EXPECT_EQ(log.count("unheard of"), 1U);
  EXPECT_EQ(log.count("forgotten"), 1U);
  EXPECT_EQ(log.count("heard of"), 1U);
  EXPECT_EQ(log.lines().size(), 1U);
}

TEST_P(task_group_test, isolated_failures_go_to_the_hook_and_the_others_live) {
  run([] {
    std::atomic<int> failures{0};
    std::atomic<int> survivors{0};
    task_group group(on_error::isolate, [&](std::exception_ptr error) {
      EXPECT_EQ(text_of(error), "isolated");
      EXPECT_EQ(this_fiber::name(), "failing");
      ++failures;
    });
    std::atomic<bool> go{false};
    for (int i = 0; i < 30; ++i) {
      if (i % 3 == 0) {
        group.spawn(fiber_options{.name = "failing"}, [] { fail("isolated"); });
      } else {
        group.spawn([&] {
          EXPECT_TRUE(eventually([&] { return go.load(); }));
          ++survivors;
        });
      }
    }
    EXPECT_TRUE(eventually([&] { return failures == 10; }));
    go = true;
    group.join();
    EXPECT_EQ(survivors, 20);
    EXPECT_TRUE(group.errors().empty());
  });
}

TEST_P(task_group_test, without_a_hook_isolated_failures_are_logged) {
  captured_log log;
  run([] {
    task_group group(on_error::isolate);
    group.spawn(fiber_options{.name = "worker-7"}, [] { fail("isolated"); });
    group.join();
  });
  EXPECT_EQ(log.count("worker-7"), 1U);
  EXPECT_EQ(log.count("isolated"), 1U);
}

TEST_P(task_group_test, a_hook_that_throws_harms_nobody) {
  captured_log log;
  run([] {
    task_group group(on_error::isolate, [](const std::exception_ptr&) { throw 1; });
    group.spawn([] { fail("x"); });
    group.join();
  });
  EXPECT_EQ(log.lines().size(), 1U);
}

TEST_P(task_group_test, a_hook_may_suspend_and_migrate) {
  run([] {
    mutex lock;
    int failures = 0;
    task_group group(on_error::isolate, [&](const std::exception_ptr&) {
      const std::lock_guard guard(lock);
      for (int i = 0; i < 5; ++i) {
        this_fiber::yield();
      }
      this_fiber::sleep_for(1us);
      ++failures;
    });
    const int count = scaled(2000, 100);
    for (int i = 0; i < count; ++i) {
      group.spawn([] { fail("x"); });
      if (i % 16 == 0) {
        this_fiber::yield();
      }
    }
    group.join();
    EXPECT_EQ(failures, count);
  });
}

struct suspends {
  suspends() = default;
  suspends(suspends&&) noexcept {}
  ~suspends() {
    this_fiber::yield();
    this_fiber::sleep_for(1us);
    ++ended;
  }
  static inline std::atomic<int> ended{0};
};

TEST_P(task_group_test, results_may_suspend_in_their_destructors) {
  run([] {
    suspends::ended = 0;
    task_group group;
    for (int i = 0; i < scaled(1000, 50); ++i) {
      group.spawn([] { return suspends(); });
    }
    group.join();
  });
  EXPECT_GE(suspends::ended, scaled(1000, 50));
}

TEST_P(task_group_test, a_child_that_joins_its_own_group_is_told_so) {
  run([] {
    task_group group;
    auto child = group.spawn([&] { group.join(); });
    EXPECT_THROW(child.join(), std::logic_error);
    EXPECT_THROW(group.join(), std::logic_error);
  });
}

TEST_P(task_group_test, outside_of_any_runtime_it_can_be_made_but_not_spawn) {
  task_group group;
  EXPECT_THROW((void)group.spawn([] {}), std::logic_error);
  group.cancel();
  group.join();
  EXPECT_EQ(group.size(), 0U);
}

TEST_P(task_group_test, a_plain_thread_owns_a_group) {
  runtime rt(options{.workers = workers()});
  const no_fiber_left check{rt};
  const auto entered = rt.enter();
  const int sum = with_task_group([](task_group& group) {
    auto left = group.spawn([] { return 1; });
    auto right = group.spawn([] { return 2; });
    return left.join() + right.join();
  });
  EXPECT_EQ(sum, 3);
  EXPECT_EQ(failure_of([] {
              with_task_group([](task_group& group) {
                group.spawn([] { fail("child of a thread"); });
                sleep_until_cancelled();
              });
            }),
            "child of a thread");
}

TEST_P(task_group_test, threads_and_fibers_spawn_into_one_group) {
  runtime rt(options{.workers = workers()});
  const no_fiber_left check{rt};
  const auto entered = rt.enter();
  task_group group;
  std::atomic<int> ran{0};
  const int rounds = scaled(3000, 50);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < rounds; ++n) {
        group.spawn([&] {
          if (ran++ % 2 == 0) {
            group.spawn([] {});
          }
        });
      }
    });
  }
  for (auto& each : threads) {
    each.join();
  }
  group.join();
  EXPECT_EQ(ran, 3 * rounds);
}

TEST_P(task_group_test, a_callable_whose_copy_throws_leaves_no_child) {
  struct throwing {
    throwing() = default;
    throwing(const throwing&) { throw std::runtime_error("copy"); }
    void operator()() const {}
  };
  run([] {
    task_group group;
    const throwing fn;
    for (int i = 0; i < 10; ++i) {
      EXPECT_THROW((void)group.spawn(fn), std::runtime_error);
    }
    EXPECT_EQ(group.size(), 0U);
    group.join();
  });
}

TEST_P(task_group_test, finished_children_are_freed_at_once) {
  run([] {
    task_group group;
    // Many more than may live at once: what a child captured, its result and its block go when it ends.
    for (int i = 0; i < scaled(20'000, 500); ++i) {
      auto dropped = group.spawn([instance = counted{}] { return counted{}; });
      if (i % 50 == 0) {
        ASSERT_TRUE(eventually([&] { return group.size() == 0; }));
      }
    }
    group.join();
    EXPECT_EQ(counted::alive(), 0);
    EXPECT_TRUE(eventually([] { return stats().fibers == 1; }));
    EXPECT_LT(stats().stacks, 500U);
  });
}

TEST_P(task_group_test, group_storms) {
  run([] {
    std::vector<fiber<>> owners;
    for (int i = 0; i < 8; ++i) {
      owners.push_back(spawn([i] {
        for (int round = 0; round < scaled(200, 10); ++round) {
          std::atomic<int> ended{0};
          try {
            with_task_group([&](task_group& group) {
              for (int n = 0; n < 10; ++n) {
                group.spawn([&, n] {
                  for (int k = 0; k < (n + i) % 4; ++k) {
                    this_fiber::yield();
                  }
                  ++ended;
                  if (round % 3 == 0 && n == 7) {
                    fail("storm");
                  }
                });
              }
              if (round % 5 == 0) {
                group.cancel();
              }
            });
            ASSERT_TRUE(round % 3 != 0 || round % 5 == 0);
          } catch (const std::runtime_error&) {
            ASSERT_EQ(round % 3, 0);
          }
          ASSERT_LE(ended, 10);
          if (round % 3 != 0 && round % 5 != 0) {
            ASSERT_EQ(ended, 10);
          }
        }
      }));
    }
    for (auto& each : owners) {
      each.join();
    }
  });
}

}  // namespace
}  // namespace aramid::test
