#include <aramid/blocking.hpp>

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/channel.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/fiber_local.hpp>
#include <aramid/run.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "migrate.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {

namespace {

using namespace std::chrono_literals;

/// Blocks a thread until it is opened.
class gate {
public:
  void open() {
    const std::lock_guard lock(lock_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(lock_);
    changed_.wait(lock, [this] { return open_; });
  }

private:
  std::mutex lock_;
  std::condition_variable changed_;
  bool open_ = false;
};

class blocking_test : public runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, blocking_test, worker_counts);

TEST_P(blocking_test, runs_on_another_thread_and_returns_what_it_returns) {
  run([] {
    const auto mine = this_thread_id();
    EXPECT_NE(blocking([] { return std::this_thread::get_id(); }), mine);
    EXPECT_EQ(*blocking([] { return std::make_unique<int>(4); }), 4);
    int number = 0;
    int& same = blocking([&]() -> int& { return number; });
    EXPECT_EQ(&same, &number);
    blocking([&] { number = 7; });
    EXPECT_EQ(number, 7);
    EXPECT_THROW(blocking([] { throw std::runtime_error("on purpose"); }), std::runtime_error);
    auto move_only = [item = std::make_unique<int>(3)] { return *item; };
    EXPECT_EQ(blocking(std::move(move_only)), 3);
    EXPECT_EQ(stats().blocking_threads, 1U);  // one at a time needs one
  });
  const auto mine = std::this_thread::get_id();
  EXPECT_EQ(blocking([] { return std::this_thread::get_id(); }), mine);
}

TEST_P(blocking_test, other_fibers_go_on_while_the_pool_is_full_and_calls_wait_their_turn) {
  runtime rt(options{.workers = workers(), .blocking_threads = 2});
  rt.spawn([] {
      gate closed;
      std::atomic<int> inside = 0;
      std::atomic<int> most = 0;
      with_task_group([&](task_group& group) {
        for (int i = 0; i != 20; ++i) {
          group.spawn([&] {
            blocking([&] {
              const int now = ++inside;
              for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
              }
              closed.pass();
              --inside;
            });
          });
        }
        EXPECT_TRUE(eventually([&] { return inside == 2; }));
        // Every fiber that does not block gets its turn.
        int ticks = 0;
        for (int i = 0; i != 1000; ++i) {
          this_fiber::yield();
          ++ticks;
        }
        this_fiber::sleep_for(1ms);
        EXPECT_EQ(ticks, 1000);
        EXPECT_EQ(inside, 2);
        closed.open();
      });
      EXPECT_EQ(most, 2);
      EXPECT_EQ(stats().blocking_threads, 2U);
    }).join();
}

TEST_P(blocking_test, a_call_that_has_begun_is_waited_for_and_its_captures_stay_alive) {
  run([] {
    gate closed;
    event begun;
    std::atomic<bool> ended = false;
    auto calls = spawn([&] {
      const std::string captured = "still here";
      EXPECT_EQ(blocking([&] {
                  begun.set();
                  closed.pass();
                  EXPECT_EQ(captured, "still here");
                  ended = true;
                  return 5;
                }),
                5);                                    // it has its result, so it is delivered
      EXPECT_THROW(this_fiber::yield(), cancelled);  // and the next wait throws
      throw_cancelled();
    });
    begun.wait();
    calls.cancel();
    this_fiber::sleep_for(2ms);
    EXPECT_FALSE(calls.done());
    closed.open();
    EXPECT_THROW(calls.join(), fiber_cancelled);
    EXPECT_TRUE(ended);
  });
}

TEST_P(blocking_test, a_call_that_takes_a_stop_token_is_asked_to_stop) {
  run([] {
    event begun;
    int steps = 0;
    auto calls = spawn([&] {
      return blocking([&](const std::stop_token& stop) {
        begun.set();
        for (; !stop.stop_requested(); ++steps) {
          std::this_thread::sleep_for(100us);
        }
        return std::string("stopped");
      });
    });
    begun.wait();
    calls.cancel();
    EXPECT_EQ(calls.join(), "stopped");
    // A deadline does too, unless it has passed before the call has begun.
    bool told = false;
    while (!told) {
      (void)try_with_timeout(1ms, [&] {
        blocking([&](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            std::this_thread::sleep_for(100us);
          }
          told = true;
        });
      });
    }
  });
}

TEST_P(blocking_test, a_call_that_has_not_begun_never_does) {
  runtime rt(options{.workers = workers(), .blocking_threads = 1});
  rt.spawn([] {
      gate closed;
      event begun;
      auto first = spawn([&] {
        blocking([&] {
          begun.set();
          closed.pass();
        });
      });
      begun.wait();
      EXPECT_THROW(with_timeout(1ms, [] { blocking([] { ADD_FAILURE(); }); }), timeout_error);
      auto second = spawn([] { blocking([] { ADD_FAILURE(); }); });
      this_fiber::sleep_for(1ms);
      second.cancel();
      EXPECT_THROW(second.join(), fiber_cancelled);
      closed.open();
      first.join();
      // In a cancelled fiber nothing is begun at all.
      cancel_scope scope;
      scope.run([&] {
        scope.cancel();
        blocking([] { ADD_FAILURE(); });
      });
    }).join();
}

TEST_P(blocking_test, it_sees_the_bindings_of_its_caller_and_may_spawn_and_use_channels) {
  run([] {
    const context_var<std::string> request("none");
    EXPECT_EQ(request.with("r-3", [&] { return blocking([&] { return request.get(); }); }), "r-3");
    EXPECT_EQ(blocking([&] { return request.get(); }), "none");
    channel<int> numbers;
    auto sum = spawn([&] {
      int total = 0;
      for (const int each : numbers) {
        total += each;
      }
      return total;
    });
    blocking([&] {
      for (int i = 1; i != 5; ++i) {
        numbers.send(i);
      }
      numbers.close();
      EXPECT_EQ(spawn([] { return 2; }).join(), 2);
    });
    EXPECT_EQ(sum.join(), 10);
  });
}

TEST_P(blocking_test, what_is_inside_when_the_runtime_ends_is_named_and_waited_for) {
  const captured_log log;
  gate closed;
  event begun;
  std::atomic<bool> ended = false;
  std::thread opens;
  {
    runtime rt(options{.workers = workers()});
    rt.spawn(fiber_options{.name = "archiver"},
             [&] {
               blocking([&] {
                 begun.set();
                 closed.pass();
                 ended = true;
               });
             })
        .detach();
    begun.wait();
    opens = std::thread([&] {
      EXPECT_TRUE(eventually([&] { return log.count("archiver") != 0; }));
      closed.open();
    });
  }
  opens.join();
  EXPECT_TRUE(ended);
  EXPECT_EQ(log.count("'archiver'"), 1U);
  EXPECT_EQ(log.count("inside blocking()"), 1U);
}

TEST_P(blocking_test, options_are_validated) {
  EXPECT_THROW(runtime(options{.workers = workers(), .blocking_threads = 0}), std::invalid_argument);
}

/// While it lives, no thread can be made: the default stack is larger than the address space.
class no_more_threads {
public:
  no_more_threads() {
    EXPECT_EQ(pthread_getattr_default_np(&before_), 0);
    pthread_attr_t huge;
    EXPECT_EQ(pthread_getattr_default_np(&huge), 0);
    EXPECT_EQ(pthread_attr_setstacksize(&huge, std::size_t{1} << 47), 0);
    EXPECT_EQ(pthread_setattr_default_np(&huge), 0);
    pthread_attr_destroy(&huge);
  }
  ~no_more_threads() {
    pthread_setattr_default_np(&before_);
    pthread_attr_destroy(&before_);
  }

private:
  pthread_attr_t before_;
};

TEST_P(blocking_test, without_a_thread_to_be_had_it_is_an_error_that_names_the_operation) {
  run([] {
    std::string text;
    {
      const no_more_threads limit;
      try {
        blocking([] { ADD_FAILURE(); });
      } catch (const std::system_error& error) {
        text = error.what();
      }
    }
    EXPECT_NE(text.find("blocking"), std::string::npos) << text;
    // Nothing was left behind; and one thread is enough for many calls.
    EXPECT_EQ(blocking([] { return 1; }), 1);
    const no_more_threads limit;
    with_task_group([](task_group& group) {
      std::vector<task<int>> calls;
      for (int i = 0; i != 10; ++i) {
        calls.push_back(group.spawn([i] { return blocking([&] { return i; }); }));
      }
      for (int i = 0; i != 10; ++i) {
        EXPECT_EQ(calls[static_cast<std::size_t>(i)].join(), i);
      }
    });
  });
}

// Calls are counted: each either ran to its end exactly once, or never began.
TEST_P(blocking_test, cancellation_races_with_begin_and_end) {
  runtime rt(options{.workers = workers(), .blocking_threads = 3});
  rt.spawn([] {
      std::atomic<int> begun = 0;
      std::atomic<int> ended = 0;
      std::atomic<int> returned = 0;
      with_task_group([&](task_group& group) {
        for (int each = 0; each != 8; ++each) {
          group.spawn([&, each] {
            for (int round = 0; round != scaled(2'000, 30); ++round) {
              // Some take as long as they take.
              const auto limit = round % 8 == 0 ? std::chrono::hours(1) : std::chrono::microseconds((round * 7 + each * 13) % 60);
              const bool got = try_with_timeout(limit, [&] {
                blocking([&, alive = std::make_unique<int>(round)] {
                  ++begun;
                  if (*alive % 3 == 0) {
                    std::this_thread::yield();
                  }
                  ++ended;
                });
              });
              returned += got ? 1 : 0;
            }
          });
        }
      });
      EXPECT_EQ(begun, ended);
      EXPECT_EQ(returned, ended);
      EXPECT_GT(returned, 0);
    }).join();
}

}  // namespace

}  // namespace aramid::test
