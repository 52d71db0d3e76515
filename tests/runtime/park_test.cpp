// The wait primitive: of all who want to end a wait exactly one does, what it handed over is seen, and a token never dangles.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/park.hpp>
#include <aramid/run.hpp>

#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

class park_test : public runtime_test {
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

INSTANTIATE_TEST_SUITE_P(workers, park_test, worker_counts);

/// Where a waiter publishes its token for wakers. Slots are read while they are written: hence two atomics and a check.
class shared_token {
public:
  void publish(park_token token) {
    who_.store(token.who);
    epoch_.store(token.epoch);
  }
  [[nodiscard]] park_token read() const { return {who_.load(), epoch_.load()}; }

private:
  std::atomic<detail::waiter*> who_{nullptr};
  std::atomic<std::uint64_t> epoch_{0};
};

TEST_P(park_test, a_wake_before_the_park_is_kept) {
  on_fiber_and_thread([] {
    parker wait;
    EXPECT_TRUE(static_cast<bool>(wait.token()));
    EXPECT_TRUE(unpark(wait.token()));
    EXPECT_FALSE(unpark(wait.token()));
    EXPECT_EQ(wait.park(), wake_reason::notified);
    EXPECT_FALSE(unpark(wait.token()));
  });
}

TEST_P(park_test, a_stale_token_wakes_nobody) {
  on_fiber_and_thread([] {
    std::vector<park_token> old;
    for (int i = 0; i < 100; ++i) {
      parker wait;
      old.push_back(wait.token());
      for (std::size_t n = 0; n + 1 < old.size(); ++n) {
        EXPECT_FALSE(claim(old[n]));
        EXPECT_FALSE(old[n] == wait.token());
      }
      if (i % 3 == 0) {
        EXPECT_TRUE(wait.abandon());
      } else if (i % 3 == 1) {
        EXPECT_TRUE(unpark(wait.token()));
        EXPECT_EQ(wait.park(), wake_reason::notified);
      } else {
        EXPECT_EQ(wait.park_until(clock::now()), wake_reason::timed_out);
      }
    }
  });
}

TEST_P(park_test, a_token_outlives_fiber_thread_and_runtime) {
  park_token of_fiber;
  park_token of_thread;
  {
    runtime rt(options{.workers = workers()});
    rt.spawn([&] {
        parker wait;
        of_fiber = wait.token();
        (void)wait.abandon();
      }).join();
    std::thread([&] {
      parker wait;
      of_thread = wait.token();
      (void)wait.abandon();
    }).join();
    EXPECT_FALSE(unpark(of_fiber));
  }
  EXPECT_FALSE(unpark(of_fiber));
  EXPECT_FALSE(unpark(of_thread));
}

TEST_P(park_test, abandon_fails_once_somebody_has_won) {
  on_fiber_and_thread([] {
    parker wait;
    EXPECT_TRUE(claim(wait.token()));
    EXPECT_FALSE(wait.abandon());
    deliver(wait.token());
    EXPECT_FALSE(wait.abandon());
    EXPECT_EQ(wait.park(), wake_reason::notified);
  });
}

TEST_P(park_test, the_destructor_waits_for_whoever_has_claimed) {
  runtime rt(options{.workers = workers()});
  const no_fiber_left check{rt};
  for (int i = 0; i < scaled(200, 30); ++i) {
    shared_token token;
    int handed_over = 0;
    auto f = rt.spawn([&] {
      {
        parker wait;
        token.publish(wait.token());
        for (int n = 0; n < i % 4; ++n) {
          std::this_thread::yield();
        }
      }
      return handed_over;  // nobody writes it any more
    });
    while (token.read().epoch == 0) {
      std::this_thread::yield();
    }
    const park_token seen = token.read();
    const bool won = claim(seen);
    if (won) {
      std::this_thread::yield();
      handed_over = 1;
      deliver(seen);
    }
    ASSERT_EQ(f.join(), won ? 1 : 0);
  }
}

TEST_P(park_test, deadlines) {
  on_fiber_and_thread([] {
    {
      parker wait;
      EXPECT_EQ(wait.park_until(time_point::min()), wake_reason::timed_out);
    }
    {
      parker wait;
      const auto deadline = clock::now() + 2ms;
      EXPECT_EQ(wait.park_until(deadline), wake_reason::timed_out);
      EXPECT_GE(clock::now(), deadline);
    }
    {
      parker wait;
      EXPECT_TRUE(unpark(wait.token()));
      EXPECT_EQ(wait.park_until(time_point::min()), wake_reason::notified);
    }
  });
}

TEST_P(park_test, cancellation_ends_the_wait_unless_it_may_not) {
  run([] {
    for (const auto may : {cancellable::yes, cancellable::no}) {
      std::atomic<bool> waits{false};
      shared_token token;
      auto f = spawn([&] {
        parker wait(may);
        token.publish(wait.token());
        waits = true;
        return wait.park();
      });
      EXPECT_TRUE(eventually([&] { return waits.load(); }));
      f.cancel();
      if (may == cancellable::no) {
        for (int i = 0; i < 50; ++i) {
          this_fiber::yield();
        }
        EXPECT_FALSE(f.done());
        EXPECT_TRUE(unpark(token.read()));
        EXPECT_EQ(f.join(), wake_reason::notified);
      } else {
        EXPECT_EQ(f.join(), wake_reason::cancelled);
        EXPECT_FALSE(unpark(token.read()));
      }
    }
  });
}

TEST_P(park_test, a_wait_during_unwinding_is_not_cancelled) {
  run([] {
    std::atomic<bool> waits{false};
    shared_token token;
    std::atomic<int> reason{-1};
    struct parks {
      std::atomic<bool>& waiting;
      shared_token& shared;
      std::atomic<int>& why;
      ~parks() {
        parker wait;  // cancellable, but for the exception in flight
        shared.publish(wait.token());
        waiting = true;
        why = static_cast<int>(wait.park());
      }
    };
    auto f = spawn([&] {
      const parks on_exit{waits, token, reason};
      throw std::runtime_error("in flight");
    });
    EXPECT_TRUE(eventually([&] { return waits.load(); }));
    f.cancel();
    for (int i = 0; i < 50; ++i) {
      this_fiber::yield();
    }
    EXPECT_EQ(reason, -1);
    EXPECT_TRUE(unpark(token.read()));
    EXPECT_THROW(f.join(), std::runtime_error);
    EXPECT_EQ(reason, static_cast<int>(wake_reason::notified));
  });
}

/// Waits `rounds` times while wakers, a canceller and deadlines fight for each wait.
class contest {
public:
  explicit contest(int rounds) : rounds_(rounds) {}

  /// The waiter: on a fiber or a thread, which `cancel` cancels.
  void wait_all() {
    for (int round = 0; round < rounds_; ++round) {
      cancel_scope scope;
      payload_ = -1;
      parker wait;
      {
        const std::lock_guard lock(scope_lock_);
        scope_ = &scope;
      }
      token_.publish(wait.token());
      const auto deadline = round % 4 == 0   ? time_point::max()
                            : round % 4 == 1 ? clock::now() + 1us
                            : round % 4 == 2 ? clock::now() + 50us
                                             : time_point::min();
      const wake_reason reason = wait.park_until(deadline);
      {
        const std::lock_guard lock(scope_lock_);
        scope_ = nullptr;
      }
      switch (reason) {
        case wake_reason::notified:
          ++notified_;
          EXPECT_GE(payload_, 0) << "what was handed over is not seen";
          break;
        case wake_reason::cancelled:
          ++cancelled_;
          EXPECT_EQ(payload_, -1);
          break;
        case wake_reason::timed_out:
          ++timed_out_;
          EXPECT_EQ(payload_, -1);
          EXPECT_NE(deadline, time_point::max());
          break;
      }
    }
    over_ = true;
  }

  void wake_until_over(int id) {
    while (!over_) {
      const park_token seen = token_.read();
      if (seen && claim(seen)) {
        payload_ = id;  // plain: ordered by claim and deliver
        ++won_;
        deliver(seen);
      }
      this_fiber::yield();
    }
  }

  void cancel_until_over() {
    while (!over_) {
      {
        const std::lock_guard lock(scope_lock_);
        if (scope_ != nullptr) {
          scope_->cancel();
        }
      }
      for (int i = 0; i < 5; ++i) {
        this_fiber::yield();
      }
    }
  }

  void check() const {
    EXPECT_EQ(won_, notified_);
    EXPECT_EQ(notified_ + cancelled_ + timed_out_, rounds_);
  }

private:

  const int rounds_;
  shared_token token_;
  std::mutex scope_lock_;
  cancel_scope* scope_ = nullptr;
  int payload_ = -1;
  std::atomic<bool> over_{false};
  std::atomic<int> won_{0};
  int notified_ = 0;
  int cancelled_ = 0;
  int timed_out_ = 0;
};

TEST_P(park_test, exactly_one_wins_every_wait) {
  for (const bool waiter_is_fiber : {true, false}) {
    for (const bool wakers_are_fibers : {true, false}) {
      SCOPED_TRACE(waiter_is_fiber ? "fiber waits" : "thread waits");
      runtime rt(options{.workers = workers()});
      const no_fiber_left check{rt};
      contest one(scaled(3000, 200));
      std::vector<std::thread> threads;
      std::vector<fiber<>> fibers;
      for (int id = 0; id < 3; ++id) {
        if (wakers_are_fibers) {
          fibers.push_back(rt.spawn([&one, id] { one.wake_until_over(id); }));
        } else {
          threads.emplace_back([&one, id] { one.wake_until_over(id); });
        }
      }
      threads.emplace_back([&one] { one.cancel_until_over(); });
      if (waiter_is_fiber) {
        rt.spawn([&one] { one.wait_all(); }).join();
      } else {
        one.wait_all();
      }
      for (auto& each : threads) {
        each.join();
      }
      for (auto& each : fibers) {
        each.join();
      }
      one.check();
    }
  }
}

TEST_P(park_test, many_waiters_and_many_wakers) {
  runtime rt(options{.workers = workers()});
  const no_fiber_left check{rt};
  constexpr std::size_t waiters = 16;
  std::array<shared_token, waiters> tokens;
  std::atomic<long> won{0};
  std::atomic<long> notified{0};
  std::atomic<std::size_t> left{waiters};
  const int rounds = scaled(3000, 100);
  std::vector<fiber<>> fibers;
  for (std::size_t i = 0; i < waiters; ++i) {
    fibers.push_back(rt.spawn(fiber_options{.pinned = i % 4 == 0}, [&, i] {
      for (int n = 0; n < rounds; ++n) {
        parker wait;
        tokens[i].publish(wait.token());
        notified += wait.park() == wake_reason::notified ? 1 : 0;
      }
      --left;
    }));
  }
  std::vector<std::thread> threads;
  const auto wake_all = [&] {
    for (std::size_t i = 0; left != 0; ++i) {
      const park_token seen = tokens[i % waiters].read();
      won += seen && unpark(seen) ? 1 : 0;
      if (i % waiters == 0) {
        this_fiber::yield();
      }
    }
  };
  threads.emplace_back(wake_all);
  fibers.push_back(rt.spawn(wake_all));
  for (auto& each : threads) {
    each.join();
  }
  for (auto& each : fibers) {
    each.join();
  }
  EXPECT_EQ(won, notified);
  EXPECT_EQ(notified, static_cast<long>(waiters) * rounds);
}

}  // namespace
}  // namespace aramid::test
