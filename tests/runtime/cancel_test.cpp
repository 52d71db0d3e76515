// Cancellation (laws 1 and 2): scopes, shields, levels, unwinding; on fibers and on plain threads.
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
#include <aramid/mutex.hpp>
#include <aramid/park.hpp>
#include <aramid/run.hpp>
#include <aramid/timeout.hpp>

#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

class cancel_test : public runtime_test {
protected:
  /// Runs `fn` on a fiber, and again on a plain thread.
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

INSTANTIATE_TEST_SUITE_P(workers, cancel_test, worker_counts);

template <class Fn>
bool throws_cancelled(Fn fn) {
  try {
    fn();
    return false;
  } catch (const cancelled&) {
    return true;
  }
}

TEST_P(cancel_test, a_scope_swallows_its_own_cancellation) {
  on_fiber_and_thread([] {
    cancel_scope never;
    EXPECT_FALSE(never.cancel_requested());
    EXPECT_TRUE(never.run([] { this_fiber::yield(); }));
    cancel_scope scope;
    scope.cancel();
    scope.cancel();
    EXPECT_TRUE(scope.cancel_requested());
    EXPECT_FALSE(scope.deadline_expired());
    EXPECT_FALSE(scope.run([] { this_fiber::yield(); }));
    cancel_scope unnoticed;
    unnoticed.cancel();
    EXPECT_TRUE(unnoticed.run([] {}));  // comes to its end without a wait
    cancel_scope failing;
    failing.cancel();
    EXPECT_THROW(failing.run([] { throw std::runtime_error("other"); }), std::runtime_error);
  });
}

TEST_P(cancel_test, a_scope_ends_with_its_run) {
  on_fiber_and_thread([] {
    cancel_scope scope;
    cancel_scope outer_of_none;
    EXPECT_FALSE(scope.run([&] {
      scope.cancel();
      this_fiber::yield();
    }));
    this_fiber::yield();  // is covered by it no more
    scope.cancel();
    outer_of_none.cancel();
    EXPECT_TRUE(throws_cancelled([] { this_fiber::yield(); }));
    EXPECT_TRUE(scope.cancel_requested());
    EXPECT_THROW(scope.run([] {}), std::logic_error);
    // In any order, and by an exception.
    cancel_scope left;
    cancel_scope right;
    EXPECT_THROW(left.run([] { throw std::runtime_error("other"); }), std::runtime_error);
    right.cancel();
    left.cancel();
  });
}

TEST_P(cancel_test, is_looked_at_before_any_effect) {
  on_fiber_and_thread([] {
    channel<int> items(4);
    items.send(1);
    mutex lock;
    {
      cancel_scope scope;
      scope.cancel();
      // Everything would be ready at once.
      EXPECT_TRUE(throws_cancelled([&] { items.send(2); }));
      EXPECT_TRUE(throws_cancelled([&] { (void)items.receive(); }));
      EXPECT_TRUE(throws_cancelled([&] { lock.lock(); }));
      EXPECT_TRUE(throws_cancelled([&] { this_fiber::yield(); }));
      EXPECT_TRUE(throws_cancelled([&] { this_fiber::sleep_for(0s); }));
      EXPECT_TRUE(throws_cancelled([&] { this_fiber::sleep_until(time_point::min()); }));
      EXPECT_TRUE(throws_cancelled([&] { this_fiber::checkpoint(); }));
      EXPECT_TRUE(throws_cancelled([&] { enter_wait(); }));
      // What never suspends does not look.
      EXPECT_EQ(items.try_send(3), channel_status::ok);
      EXPECT_TRUE(lock.try_lock());
      lock.unlock();
    }
    EXPECT_EQ(items.size(), 2U);
    EXPECT_EQ(items.receive(), 1);
    EXPECT_EQ(items.receive(), 3);
  });
}

TEST_P(cancel_test, a_join_of_what_has_ended_is_a_cancellation_point_and_loses_nothing) {
  run([] {
    auto done = spawn([] { return std::make_unique<int>(4); });
    EXPECT_TRUE(eventually([&] { return done.done(); }));
    {
      cancel_scope scope;
      scope.cancel();
      EXPECT_TRUE(throws_cancelled([&] { (void)done.join(); }));
      EXPECT_TRUE(throws_cancelled([&] { (void)done.join_for(1s); }));
    }
    EXPECT_EQ(*done.join(), 4);
  });
}

TEST_P(cancel_test, is_level_triggered) {
  run([] {
    std::atomic<int> thrown{0};
    std::atomic<bool> waits{false};
    auto f = spawn([&] {
      for (int i = 0; i < 10; ++i) {
        try {
          waits = true;
          this_fiber::sleep_for(24h);
        } catch (...) {  // swallowed
          ++thrown;
        }
      }
      return 5;
    });
    EXPECT_TRUE(eventually([&] { return waits.load(); }));
    f.cancel();
    EXPECT_EQ(f.join(), 5);
    EXPECT_EQ(thrown, 10);
  });
}

TEST_P(cancel_test, rethrow_if_cancelled_lets_other_errors_be_handled) {
  run([] {
    int handled = 0;
    try {
      throw std::runtime_error("other");
    } catch (...) {
      rethrow_if_cancelled();
      ++handled;
    }
    EXPECT_EQ(handled, 1);
    cancel_scope scope;
    scope.cancel();
    EXPECT_FALSE(scope.run([&] {
      try {
        this_fiber::yield();
      } catch (...) {
        rethrow_if_cancelled();
        ++handled;
      }
    }));
    EXPECT_EQ(handled, 1);
  });
}

TEST_P(cancel_test, is_no_std_exception) {
  run([] {
    cancel_scope scope;
    scope.cancel();
    EXPECT_FALSE(scope.run([] {
      try {
        this_fiber::yield();
      } catch (const std::exception&) {
        ADD_FAILURE();
      }
    }));
  });
  static_assert(!std::is_base_of_v<std::exception, cancelled>);
  static_assert(std::is_base_of_v<std::exception, fiber_cancelled>);
}

TEST_P(cancel_test, the_scope_that_was_cancelled_is_the_one_that_swallows) {
  on_fiber_and_thread([] {
    for (int which = 0; which < 3; ++which) {
      cancel_scope outer;
      bool middle_ended = false;
      bool inner_ended = false;
      const bool whole = outer.run([&] {
        cancel_scope middle;
        middle_ended = middle.run([&] {
          cancel_scope inner;
          inner_ended = inner.run([&] {
            (which == 0 ? outer : which == 1 ? middle : inner).cancel();
            this_fiber::yield();
            ADD_FAILURE();
          });
          EXPECT_EQ(which, 2);
        });
        EXPECT_GE(which, 1);
      });
      EXPECT_EQ(whole, which != 0);
      EXPECT_EQ(middle_ended, which == 2);
      EXPECT_FALSE(inner_ended);
    }
  });
}

TEST_P(cancel_test, with_both_cancelled_the_outer_scope_swallows) {
  on_fiber_and_thread([] {
    cancel_scope outer;
    bool after_inner = false;
    EXPECT_FALSE(outer.run([&] {
      cancel_scope inner;
      inner.cancel();
      outer.cancel();
      inner.run([] { this_fiber::yield(); });
      after_inner = true;
    }));
    EXPECT_FALSE(after_inner);
  });
}

TEST_P(cancel_test, scopes_may_end_in_any_order) {
  on_fiber_and_thread([] {
    auto a = std::make_unique<cancel_scope>();
    auto b = std::make_unique<cancel_scope>();
    auto c = std::make_unique<cancel_scope>();
    b->cancel();
    EXPECT_TRUE(throws_cancelled([] { this_fiber::yield(); }));
    a.reset();
    EXPECT_TRUE(throws_cancelled([] { this_fiber::yield(); }));
    b.reset();
    this_fiber::yield();
    c->cancel();
    EXPECT_TRUE(throws_cancelled([] { this_fiber::yield(); }));
    c.reset();
    this_fiber::yield();
  });
}

// --- shields ---------------------------------------------------------------------------------------------------------

TEST_P(cancel_test, a_shield_hides_what_comes_from_outside) {
  run([] {
    std::atomic<int> stage{0};
    auto f = spawn([&] {
      {
        const shield guard;
        stage = 1;
        while (stage != 2) {
          this_fiber::sleep_for(1us);
        }
        EXPECT_FALSE(this_fiber::cancel_requested());
        this_fiber::yield();
      }
      EXPECT_TRUE(this_fiber::cancel_requested());
      stage = 3;
      this_fiber::yield();
      stage = 4;
    });
    EXPECT_TRUE(eventually([&] { return stage == 1; }));
    f.cancel();
    stage = 2;
    EXPECT_THROW(f.join(), fiber_cancelled);
    EXPECT_EQ(stage, 3);
  });
}

TEST_P(cancel_test, scopes_inside_a_shield_work_as_ever) {
  on_fiber_and_thread([] {
    cancel_scope outer;
    outer.cancel();
    EXPECT_EQ(shield::run([] {
                this_fiber::yield();
                EXPECT_TRUE(cancel_scope().run([] { this_fiber::yield(); }));
                cancel_scope inner;
                inner.cancel();
                {
                  const shield second;
                  this_fiber::yield();
                }
                EXPECT_TRUE(throws_cancelled([] { this_fiber::yield(); }));
                return 3;
              }),
              3);
    EXPECT_TRUE(throws_cancelled([] { this_fiber::yield(); }));
  });
}

TEST_P(cancel_test, a_shield_hides_deadlines_too) {
  on_fiber_and_thread([] {
    cancel_scope scope(time_point::min());
    EXPECT_FALSE(scope.run([] {
      {
        const shield guard;
        this_fiber::yield();
        this_fiber::sleep_for(1ms);
        cancel_scope inner(clock::now() + 1us);
        EXPECT_FALSE(inner.run([] { this_fiber::sleep_for(24h); }));
      }
      this_fiber::yield();
      ADD_FAILURE();
    }));
    EXPECT_TRUE(scope.deadline_expired());
  });
}

// --- unwinding -------------------------------------------------------------------------------------------------------

TEST_P(cancel_test, is_never_thrown_while_unwinding) {
  struct waits {
    ~waits() {
      this_fiber::yield();
      this_fiber::sleep_for(1us);
      channel<int> one(1);
      one.send(3);
      EXPECT_EQ(one.receive(), 3);
      EXPECT_FALSE(this_fiber::cancel_requested());
    }
  };
  on_fiber_and_thread([] {
    cancel_scope scope;
    EXPECT_FALSE(scope.run([&] {
      const waits a;
      const waits b;
      scope.cancel();
      this_fiber::yield();
    }));
    // An exception of somebody else's, too.
    cancel_scope another;
    another.cancel();
    EXPECT_THROW(another.run([] {
      const waits a;
      throw std::runtime_error("x");
    }),
                 std::runtime_error);
  });
}

TEST_P(cancel_test, a_wait_while_unwinding_is_not_cut_short) {
  run([] {
    std::atomic<bool> in_destructor{false};
    std::atomic<bool> go{false};
    struct waits {
      std::atomic<bool>& inside;
      std::atomic<bool>& release;
      ~waits() {
        inside = true;
        while (!release) {
          this_fiber::sleep_for(10us);
        }
      }
    };
    auto f = spawn([&] {
      const waits w{in_destructor, go};
      throw std::runtime_error("x");
    });
    EXPECT_TRUE(eventually([&] { return in_destructor.load(); }));
    f.cancel();
    for (int i = 0; i < 20; ++i) {
      this_fiber::sleep_for(10us);
    }
    EXPECT_FALSE(f.done());
    go = true;
    EXPECT_THROW(f.join(), std::runtime_error);
  });
}

// --- from other threads ------------------------------------------------------------------------------------------------

TEST_P(cancel_test, scope_cancel_from_another_thread_ends_the_wait) {
  on_fiber_and_thread([] {
    for (int i = 0; i < scaled(300, 20); ++i) {
      cancel_scope scope;
      std::thread other([&] { scope.cancel(); });
      EXPECT_FALSE(scope.run([] { this_fiber::sleep_for(24h); }));
      other.join();
    }
  });
}

TEST_P(cancel_test, cancel_races_with_leaving_the_scope) {
  // The canceller holds `alive` while it uses the scope; the fiber takes it before it leaves: as a server would.
  runtime rt(options{.workers = workers()});
  const no_fiber_left check{rt};
  for (int i = 0; i < scaled(1000, 50); ++i) {
    std::atomic<cancel_scope*> shared{nullptr};
    std::atomic<int> users{0};
    auto f = rt.spawn([&, i] {
      int swallowed = 0;
      for (int n = 0; n < 20; ++n) {
        cancel_scope scope;
        shared = &scope;
        swallowed += scope.run([&] {
          for (int k = 0; k < (i + n) % 4; ++k) {
            this_fiber::yield();
          }
          if (n % 5 == 0) {
            this_fiber::sleep_for(1us);
          }
        })
                         ? 0
                         : 1;
        shared = nullptr;
        const shield guard;
        while (users != 0) {
          this_fiber::yield();
        }
      }
      // A cancelled scope leaves no trace.
      this_fiber::yield();
      return swallowed;
    });
    for (int n = 0; !f.done(); ++n) {
      ++users;
      if (cancel_scope* const scope = shared; scope != nullptr) {
        scope->cancel();
      }
      --users;
      if (n % 3 == 0) {
        std::this_thread::yield();
      }
    }
    ASSERT_LE(f.join(), 20);
  }
}

TEST_P(cancel_test, a_winning_waker_is_never_lost_to_a_cancellation) {
  // Items are numbered: every one that was sent has been received or is still in the channel.
  runtime rt(options{.workers = workers()});
  const no_fiber_left check{rt};
  for (int round = 0; round < scaled(300, 20); ++round) {
    channel<int> items(static_cast<std::size_t>(round % 3));
    std::atomic<long> received{0};
    std::atomic<int> sent{0};
    std::vector<fiber<>> receivers;
    for (int i = 0; i < 4; ++i) {
      receivers.push_back(rt.spawn([&] {
        for (;;) {
          // Counted inside of the scope's reach only after the item is ours.
          if (const std::optional<int> item = items.receive()) {
            received += *item;
          }
        }
      }));
    }
    auto sender = rt.spawn([&] {
      for (int i = 1; i <= 50; ++i) {
        items.send(1);
        ++sent;
      }
    });
    for (auto& each : receivers) {
      std::this_thread::yield();
      each.cancel();
    }
    for (auto& each : receivers) {
      ASSERT_THROW(each.join(), fiber_cancelled);
    }
    sender.cancel();
    try {
      sender.join();
    } catch (const fiber_cancelled&) {
    }
    long left = 0;
    while (const auto item = items.try_receive()) {
      left += *item;
    }
    ASSERT_EQ(received + left, sent.load());
  }
}

TEST_P(cancel_test, cancelling_crowds_of_nested_scopes) {
  run([] {
    for (int round = 0; round < scaled(50, 5); ++round) {
      std::vector<fiber<int>> fibers;
      std::atomic<int> waiting{0};
      for (int i = 0; i < 32; ++i) {
        fibers.push_back(spawn([&waiting, i] {
          int levels = 0;
          cancel_scope a;
          cancel_scope b(clock::now() + std::chrono::microseconds(i * 10));
          cancel_scope c;
          const bool whole = a.run([&] {
            b.run([&] {
              c.run([&] {
                ++waiting;
                if (i % 3 == 0) {
                  c.cancel();
                }
                this_fiber::sleep_for(24h);
              });
              ++levels;
              a.cancel();
              this_fiber::yield();
            });
            ++levels;
            a.cancel();
            this_fiber::yield();
          });
          EXPECT_FALSE(whole);
          return levels;
        }));
      }
      for (auto& each : fibers) {
        (void)each.join();
      }
    }
  });
}

TEST_P(cancel_test, a_fibers_own_cancellation_is_not_swallowed_by_scopes) {
  run([] {
    std::atomic<bool> waits{false};
    std::atomic<bool> after{false};
    auto f = spawn([&] {
      cancel_scope a;
      a.run([&] {
        cancel_scope b;
        b.run([&] {
          waits = true;
          sleep_until_cancelled();
        });
        after = true;
      });
      after = true;
    });
    EXPECT_TRUE(eventually([&] { return waits.load(); }));
    f.cancel();
    EXPECT_THROW(f.join(), fiber_cancelled);
    EXPECT_FALSE(after);
  });
}

}  // namespace
}  // namespace aramid::test
