// std::stop_token in and out: what a fiber gives to code that knows it, and what ends a channel's waits.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/channel.hpp>
#include <aramid/channel_ends.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/fiber_local.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "crowd.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {

namespace {

using namespace std::chrono_literals;

class stop_token_test : public runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, stop_token_test, worker_counts);

TEST_P(stop_token_test, a_fiber_that_computes_hears_of_its_cancellation) {
  run([] {
    event computing;
    std::atomic<bool> stopped = false;
    auto computes = spawn([&] {
      const std::stop_token token = this_fiber::get_stop_token();
      EXPECT_TRUE(token.stop_possible());
      EXPECT_FALSE(token.stop_requested());
      computing.set();
      while (!token.stop_requested()) {
        const shield through;  // a cancelled fiber could not give way otherwise
        this_fiber::yield();
      }
      stopped = true;
    });
    computing.wait();
    computes.cancel();
    computes.join();
    EXPECT_TRUE(stopped);
  });
}

TEST_P(stop_token_test, all_ways_to_cancel_a_fiber_ask_its_token) {
  run([] {
    const auto listens = [](std::atomic<int>& heard, event& ready) {
      const std::stop_callback callback(this_fiber::get_stop_token(), [&] { ++heard; });
      ready.set();
      sleep_until_cancelled();
    };
    std::atomic<int> heard = 0;
    {
      event ready;
      auto dropped = spawn([&] { listens(heard, ready); });
      ready.wait();
    }
    EXPECT_EQ(heard, 1);
    {
      event ready;
      task_group group;
      group.spawn([&] { listens(heard, ready); });
      ready.wait();
      group.cancel();
      EXPECT_EQ(heard, 2);
    }
    event ready;
    EXPECT_THROW(with_task_group([&](task_group& group) {
                   group.spawn([&] { listens(heard, ready); });
                   ready.wait();
                   group.spawn([] { throw std::runtime_error("on purpose"); });
                 }),
                 std::runtime_error);
    EXPECT_EQ(heard, 3);
  });
  // The end of the runtime.
  std::atomic<int> heard = 0;
  runtime rt(options{.workers = workers()});
  event ready;
  rt.spawn([&] {
      const std::stop_callback callback(this_fiber::get_stop_token(), [&] { ++heard; });
      ready.set();
      sleep_until_cancelled();
    }).detach();
  ready.wait();
  rt.stop();
  EXPECT_EQ(heard, 1);
}

TEST_P(stop_token_test, a_listener_is_called_once_and_under_no_lock_of_ours) {
  run([] {
    task_group group;
    event ready;
    std::atomic<int> heard = 0;
    group.spawn([&] {
      const std::stop_callback callback(this_fiber::get_stop_token(), [&] {
        ++heard;
        EXPECT_GE(group.size(), 1U);  // takes the group's lock
        group.cancel();
        group.spawn([] {});  // born cancelled
      });
      ready.set();
      sleep_until_cancelled();
    });
    ready.wait();
    group.cancel();
    group.cancel();
    EXPECT_EQ(heard, 1);
  });
}

TEST_P(stop_token_test, scopes_do_not_ask_and_a_late_caller_is_told_at_once) {
  run([] {
    auto fiber = spawn([] {
      const std::stop_token early = this_fiber::get_stop_token();
      EXPECT_FALSE(try_with_timeout(0s, [] { this_fiber::yield(); }));
      cancel_scope scope;
      scope.run([&] {
        scope.cancel();
        this_fiber::yield();
      });
      EXPECT_FALSE(early.stop_requested());
    });
    fiber.join();
    event began;
    auto late = spawn([&] {
      began.set();
      try {
        sleep_until_cancelled();
      } catch (const cancelled&) {
        EXPECT_TRUE(this_fiber::get_stop_token().stop_requested());
        throw;
      }
    });
    began.wait();
    late.cancel();
    EXPECT_THROW(late.join(), fiber_cancelled);
  });
  EXPECT_FALSE(this_fiber::get_stop_token().stop_possible());
}

TEST_P(stop_token_test, a_token_outlives_its_fiber) {
  run([] {
    std::stop_token token;
    spawn([&] { token = this_fiber::get_stop_token(); }).join();
    EXPECT_FALSE(token.stop_requested());
    EXPECT_FALSE(token.stop_possible());  // its source has gone
  });
}

// Their sources were chained through each other once, and the last to go took the others along on its stack.
TEST_P(stop_token_test, ten_thousand_are_asked_at_once_and_the_last_to_go_is_none_the_worse) {
  run([] {
    const int count = scaled(20'000, 200);
    task_group group;
    event all_begun;
    event others_gone;
    std::atomic<int> begun = 0;
    std::atomic<int> heard = 0;
    const auto listens = [&] {
      const std::stop_callback callback(this_fiber::get_stop_token(), [&] { ++heard; });
      if (++begun == count) {
        all_begun.set();
      }
      sleep_until_cancelled();
    };
    group.spawn([&] {
      const shield through;
      (void)this_fiber::get_stop_token();
      others_gone.wait();
    });
    this_fiber::yield();
    for (int i = 0; i != count; ++i) {
      group.spawn(listens);
    }
    all_begun.wait();
    group.cancel();
    EXPECT_EQ(heard, count);
    EXPECT_TRUE(eventually([&] { return group.size() == 1; }));
    others_gone.set();
    group.join();
  });
}

// Hooks, callbacks and destructors run on a fiber that has ended. What they make must not go to whoever gets its control block next.
TEST_P(stop_token_test, what_is_made_behind_the_end_of_a_fiber_goes_with_it) {
  run([] {
    const fiber_local<counted> local;
    const auto later_fibers_find_nothing = [&] {
      for (int i = 0; i != 200; ++i) {
        spawn([&] {
          EXPECT_EQ(local.find(), nullptr);
          EXPECT_FALSE(this_fiber::get_stop_token().stop_requested());
        }).join();
      }
    };
    for (int round = 0; round != 20; ++round) {
      event called;
      event go;
      auto ends = spawn([&] { go.wait(); });  // else it may be the caller who calls back
      ends.on_done([&] {
        (void)local.get();
        (void)this_fiber::get_stop_token();
        called.set();
      });
      go.set();
      ends.join();
      called.wait();
      ends = {};
      {
        task_group group(on_error::isolate, [&](const std::exception_ptr&) {
          (void)local.get();
          (void)this_fiber::get_stop_token();
        });
        auto fails = group.spawn([] {
          try {
            sleep_until_cancelled();
          } catch (...) {
            throw std::runtime_error("on purpose");
          }
        });
        this_fiber::yield();
        group.cancel();
        group.join();
      }
      EXPECT_TRUE(eventually([] { return counted::alive() == 0; }));
    }
    later_fibers_find_nothing();
  });
}

TEST_P(stop_token_test, it_ends_the_waits_of_threads_on_a_channel) {
  crowd all(workers(), who::both);
  channel<int> numbers;
  std::stop_source stop;
  std::atomic<int> stopped = 0;
  for (int i = 0; i != 4; ++i) {
    all.start([&] {
      const received<int> item = numbers.receive(stop.get_token());
      EXPECT_FALSE(item);
      EXPECT_EQ(item.status(), channel_status::stopped);
      ++stopped;
    });
  }
  EXPECT_EQ(stopped, 0);
  stop.request_stop();
  all.join();
  EXPECT_EQ(stopped, 4);
  // It is looked at first.
  EXPECT_EQ(numbers.send(1, stop.get_token()), channel_status::stopped);
  EXPECT_EQ(numbers.try_receive().status(), channel_status::would_block);
}

TEST_P(stop_token_test, a_channel_that_can_go_on_does_and_a_closed_one_says_so) {
  channel<std::unique_ptr<int>> items(1);
  const std::stop_source never;
  EXPECT_EQ(items.send(std::make_unique<int>(1), never.get_token()), channel_status::ok);
  const auto item = items.receive(never.get_token());
  ASSERT_TRUE(item);
  EXPECT_EQ(**item, 1);
  items.close();
  EXPECT_EQ(items.receive(never.get_token()).status(), channel_status::closed);
  auto kept = std::make_unique<int>(2);
  EXPECT_EQ(items.send(std::move(kept), never.get_token()), channel_status::closed);
  EXPECT_NE(kept, nullptr);

  auto [in, out] = make_channel<int>(1);
  EXPECT_EQ(in.send(3, never.get_token()), channel_status::ok);
  EXPECT_EQ(out.receive(never.get_token()).value(), 3);
}

TEST_P(stop_token_test, a_cancelled_fiber_is_cancelled_and_not_stopped) {
  run([] {
    channel<int> numbers;
    const std::stop_source never;
    EXPECT_THROW(with_timeout(1ms, [&] { (void)numbers.receive(never.get_token()); }), timeout_error);
    // Also if it is stopped too: whatever may suspend looks at cancellation first.
    std::stop_source stop;
    stop.request_stop();
    EXPECT_THROW(with_timeout(0s, [&] { (void)numbers.receive(stop.get_token()); }), timeout_error);
    EXPECT_THROW(with_timeout(0s, [&] { (void)numbers.send(1, stop.get_token()); }), timeout_error);
    EXPECT_EQ(numbers.try_receive().status(), channel_status::would_block);
  });
}

// Items are counted: each is received once or still its sender's, whatever ends the waits.
TEST_P(stop_token_test, nothing_is_lost_between_stop_cancel_and_hand_over) {
  for (const std::size_t capacity : {0U, 1U}) {
    const int rounds = scaled(3'000, 30);
    crowd all(workers(), who::both);
    channel<int> numbers(capacity);
    std::atomic<int> sent = 0;
    std::atomic<int> got = 0;
    std::atomic<int> busy = 4;
    for (int i = 0; i != 4; ++i) {
      const bool sends = i < 2;
      all.start([&, sends] {
        for (int round = 0; round != rounds; ++round) {
          std::stop_source stop;
          const auto asks = [&, round] {
            for (int pause = 0; pause != round % 7; ++pause) {
              this_fiber::yield();
            }
            stop.request_stop();
          };
          const auto works = [&] {
            if (sends) {
              sent += numbers.send(1, stop.get_token()) == channel_status::ok ? 1 : 0;
            } else {
              got += numbers.receive(stop.get_token()) ? 1 : 0;
            }
          };
          if (this_fiber::get_id() != 0) {
            auto other = spawn(asks);
            (void)try_with_timeout(std::chrono::microseconds(round % 50), works);
            other.join();
          } else {
            std::jthread other(asks);
            works();
          }
        }
        --busy;
      });
    }
    all.join();
    while (numbers.try_receive()) {
      ++got;
    }
    EXPECT_EQ(sent, got);
    EXPECT_EQ(busy, 0);
  }
}

}  // namespace

}  // namespace aramid::test
