// aramid::shared_mutex: readers together and writers alone, fairness both ways, cancellation and deadlines, between fibers and threads.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <random>
#include <shared_mutex>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/shared_mutex.hpp>

#include "crowd.hpp"
#include "runtime/src/barging.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

class shared_mutex_test : public runtime_test {
protected:
  static bool is_free(shared_mutex& which) {
    const bool got = which.try_lock();
    if (got) {
      which.unlock();
    }
    return got;
  }
};

INSTANTIATE_TEST_SUITE_P(workers, shared_mutex_test, worker_counts);

TEST_P(shared_mutex_test, a_writer_is_alone) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(5000);
    shared_mutex lock;
    long left = 0;  // not atomic, and equal but while a writer is inside
    long right = 0;
    std::atomic<int> torn{0};
    crowd all(GetParam(), which);
    for (int i = 0; i < 8; ++i) {
      all.start([&, writes = i % 4 == 0] {
        for (int n = 0; n < rounds; ++n) {
          if (writes) {
            const std::lock_guard guard(lock);
            ++left;
            if (n % 16 == 0) {
              this_fiber::yield();
            }
            ++right;
          } else {
            const std::shared_lock guard(lock);
            const long before = left;
            if (n % 16 == 0) {
              this_fiber::yield();
            }
            torn += before == left && left == right ? 0 : 1;
          }
        }
      });
    }
    all.join();
    EXPECT_EQ(torn, 0);
    EXPECT_EQ(left, 2L * rounds);
    EXPECT_TRUE(is_free(lock));
  }
}

TEST_P(shared_mutex_test, readers_are_in_together) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    shared_mutex lock;
    std::atomic<int> inside{0};
    crowd all(GetParam(), which);
    for (int i = 0; i < 6; ++i) {
      all.start([&] {
        const std::shared_lock guard(lock);
        ++inside;
        yield_until([&] { return inside == 6; });  // none leaves before all are in
      });
    }
    all.join();
    EXPECT_TRUE(is_free(lock));
  }
}

// All that waited while a writer was in are let in together.
TEST_P(shared_mutex_test, readers_that_waited_are_in_together) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    shared_mutex lock;
    lock.lock();
    std::atomic<int> begun{0};
    std::atomic<int> inside{0};
    crowd all(GetParam(), which);
    for (int i = 0; i < 6; ++i) {
      all.start([&] {
        ++begun;
        const std::shared_lock guard(lock);
        ++inside;
        yield_until([&] { return inside == 6; });
      });
    }
    yield_until([&] { return begun == 6; });
    lock.unlock();
    all.join();
    EXPECT_TRUE(is_free(lock));
  }
}

TEST_P(shared_mutex_test, works_with_the_guards_of_std) {
  run([] {
    shared_mutex lock;
    {
      const std::unique_lock<shared_mutex> alone(lock, 1h);
      EXPECT_TRUE(alone.owns_lock());
      EXPECT_FALSE(std::shared_lock<shared_mutex>(lock, std::try_to_lock).owns_lock());
      EXPECT_FALSE(std::shared_lock<shared_mutex>(lock, 1ms).owns_lock());
      EXPECT_FALSE(lock.try_lock());
    }
    const std::shared_lock<shared_mutex> one(lock, std::chrono::system_clock::now() - 1h);
    const std::shared_lock<shared_mutex> another(lock, std::try_to_lock);
    EXPECT_TRUE(one.owns_lock() && another.owns_lock());
    EXPECT_FALSE(lock.try_lock());
    EXPECT_FALSE(lock.try_lock_for(1ms));
    EXPECT_FALSE(lock.try_lock_until(clock::now() - 1h));
    EXPECT_TRUE(lock.try_lock_shared());
    lock.unlock_shared();
  });
}

TEST(shared_mutex_on_one_worker, readers_do_not_pass_a_writer_that_waits) {
  run(
      [] {
        shared_mutex lock;
        lock.lock_shared();
        std::vector<char> order;
        auto writer = spawn([&] {
          const std::lock_guard guard(lock);
          order.push_back('w');
        });
        this_fiber::sleep_for(1ms);
        EXPECT_FALSE(lock.try_lock_shared());
        auto reader = spawn([&] {
          const std::shared_lock guard(lock);
          order.push_back('r');
        });
        this_fiber::sleep_for(1ms);
        EXPECT_TRUE(order.empty());
        lock.unlock_shared();
        writer.join();
        reader.join();
        EXPECT_EQ(order, (std::vector<char>{'w', 'r'}));
      },
      options{.workers = 1});
}

// The reader inside may not leave before the one that waits behind the writer has been in.
TEST_P(shared_mutex_test, a_writer_that_gives_up_lets_the_readers_behind_it_in) {
  for (const bool by_deadline : {false, true}) {
    run([&] {
      shared_mutex lock;
      lock.lock_shared();
      std::atomic<int> begun{0};
      std::atomic<int> inside{0};
      auto writer = spawn([&] {
        if (by_deadline) {
          EXPECT_FALSE(lock.try_lock_for(100ms));
        } else {
          lock.lock();
          ADD_FAILURE() << "a reader was in";
        }
      });
      yield_until([&] {  // the writer waits
        const bool shared = lock.try_lock_shared();
        if (shared) {
          lock.unlock_shared();
        }
        return !shared || writer.done();
      });
      std::vector<fiber<>> readers;
      for (int i = 0; i < 3; ++i) {
        readers.push_back(spawn([&] {
          ++begun;
          const std::shared_lock guard(lock);
          ++inside;
          yield_until([&] { return inside == 3; });
        }));
      }
      yield_until([&] { return begun == 3; });
      if (!by_deadline) {
        this_fiber::sleep_for(1ms);
        writer.cancel();
      }
      yield_until([&] { return inside == 3; });
      lock.unlock_shared();
      for (fiber<>& each : readers) {
        each.join();
      }
      if (by_deadline) {
        writer.join();
      } else {
        EXPECT_THROW(writer.join(), fiber_cancelled);
      }
      EXPECT_TRUE(is_free(lock));
    });
  }
}

TEST_P(shared_mutex_test, neither_side_starves_the_other) {
  for (const who which : everybody) {
    for (const bool readers_hog : {false, true}) {
      SCOPED_TRACE(which);
      shared_mutex lock;
      std::atomic<int> waiting{2};
      crowd all(GetParam(), which);
      const auto enter = [&lock](bool reads, auto inside) {
        if (reads) {
          const std::shared_lock guard(lock);
          inside();
        } else {
          const std::lock_guard guard(lock);
          inside();
        }
      };
      for (int i = 0; i < 4; ++i) {
        all.start([&] {  // hogs: between them they are in all the time, until everybody else has had his turn
          while (waiting.load() != 0) {
            enter(readers_hog, [] {
              for (int n = 0; n < 10; ++n) {
                this_fiber::yield();
              }
            });
          }
        });
      }
      for (int i = 0; i < 2; ++i) {
        all.start([&] {
          for (int n = 0; n < 20; ++n) {
            enter(!readers_hog, [] {});
          }
          --waiting;
        });
      }
      all.join();
      EXPECT_EQ(waiting, 0);
    }
  }
}

TEST_P(shared_mutex_test, a_cancelled_waiter_does_not_hold_the_lock) {
  run([] {
    shared_mutex lock;
    lock.lock();
    std::atomic<int> begun{0};
    std::vector<fiber<>> waiters;
    for (int i = 0; i < 6; ++i) {
      waiters.push_back(spawn([&, i] {
        ++begun;
        if (i % 2 == 0) {
          lock.lock();
        } else {
          lock.lock_shared();
        }
        ADD_FAILURE() << "locked";
      }));
    }
    yield_until([&] { return begun == 6; });
    for (fiber<>& each : waiters) {
      each.cancel();
      EXPECT_THROW(each.join(), fiber_cancelled);
    }
    lock.unlock();
    EXPECT_TRUE(is_free(lock));
  });
}

// Every way out of a wait at once. A lock or a share that were lost would hang the next round; one that were doubled would let
// a writer see somebody else inside.
TEST_P(shared_mutex_test, nothing_is_lost_between_hand_over_and_cancellation) {
  for (const who which : {who::fibers, who::both}) {
    SCOPED_TRACE(which);
    const int rounds = scaled(300);
    shared_mutex lock;
    std::atomic<int> readers{0};
    std::atomic<int> writers{0};
    std::atomic<int> overlaps{0};
    crowd all(GetParam(), which);
    std::minstd_rand random(1);
    const auto inside = [&](bool reads, int n) {
      (reads ? readers : writers)++;
      const auto look = [&] { overlaps += writers > (reads ? 0 : 1) || (!reads && readers != 0) ? 1 : 0; };
      look();
      try {
        if (n % 4 == 0) {
          this_fiber::yield();
        }
      } catch (const cancelled&) {
        (reads ? readers : writers)--;
        throw;
      }
      look();
      (reads ? readers : writers)--;
    };
    for (int round = 0; round < rounds; ++round) {
      for (int i = 0; i < 12; ++i) {
        all.start([&, i] {
          for (int n = 0; n < 10; ++n) {
            const auto patience = std::chrono::microseconds(n);
            if (i % 2 == 0) {
              std::shared_lock guard(lock, std::defer_lock);
              if (i % 3 != 0) {
                guard.lock();
              } else if (!guard.try_lock_for(patience)) {
                continue;
              }
              inside(true, n);
            } else {
              std::unique_lock guard(lock, std::defer_lock);
              if (i % 3 != 0) {
                guard.lock();
              } else if (!guard.try_lock_for(patience)) {
                continue;
              }
              inside(false, n);
            }
          }
        });
      }
      for (fiber<>& each : all.fibers()) {
        if (random() % 2 == 0) {
          each.cancel();
        }
      }
      all.join();
      ASSERT_TRUE(is_free(lock)) << "round " << round;
    }
    EXPECT_EQ(overlaps, 0);
  }
}

// The last to leave destroys the mutex: whoever left before must not touch it any more.
TEST_P(shared_mutex_test, may_be_destroyed_by_the_last_owner) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    struct shared {
      shared_mutex lock;
      std::atomic<int> users{4};
    };
    const int rounds = scaled(1000, 100);
    std::atomic<int> destroyed{0};
    crowd all(GetParam(), which);
    for (int round = 0; round < rounds; ++round) {
      auto* const object = new shared;
      for (int i = 0; i < 4; ++i) {
        all.start([object, &destroyed, reads = i < 2] {
          if (reads) {
            object->lock.lock_shared();
            --object->users;
            object->lock.unlock_shared();
            return;
          }
          object->lock.lock();
          const int left = --object->users;
          object->lock.unlock();
          if (left == 0) {
            delete object;
            ++destroyed;
          }
        });
      }
      // It may be a reader that was the last.
      all.join();
      if (destroyed != round + 1) {
        ASSERT_EQ(object->users, 0);
        delete object;
        ++destroyed;
      }
    }
    EXPECT_EQ(destroyed, rounds);
  }
}

TEST(shared_mutex_misuse, unlocking_what_nobody_holds_alone_ends_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        shared_mutex lock;
        lock.lock_shared();
        lock.unlock();
      },
      "shared_mutex::unlock: nobody holds it alone");
}

constinit shared_mutex at_namespace_scope;

TEST(shared_mutex_layout, is_small_and_needs_no_code_to_start_or_end) {
  EXPECT_LE(sizeof(shared_mutex), 24U);
  EXPECT_TRUE(std::is_trivially_destructible_v<shared_mutex>);
  EXPECT_TRUE(at_namespace_scope.try_lock());
  at_namespace_scope.unlock();
}

}  // namespace
}  // namespace aramid::test
