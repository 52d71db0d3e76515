// aramid::recursive_mutex: its owner locks it again, nobody else does.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/mutex.hpp>
#include <aramid/run.hpp>

#include "crowd.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

using recursive_mutex_test = runtime_test;
INSTANTIATE_TEST_SUITE_P(workers, recursive_mutex_test, worker_counts);

void nest(recursive_mutex& lock, int depth, long& total) {
  const std::lock_guard guard(lock);
  ++total;
  if (depth % 3 == 0) {
    this_fiber::yield();  // may go on elsewhere, and is the owner still
  }
  if (depth > 0) {
    nest(lock, depth - 1, total);
  }
}

TEST_P(recursive_mutex_test, its_owner_locks_it_again_and_nobody_else) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(500);
    recursive_mutex lock;
    long total = 0;
    crowd all(GetParam(), which);
    for (int i = 0; i < 6; ++i) {
      all.start([&] {
        for (int n = 0; n < rounds; ++n) {
          nest(lock, 7, total);
        }
      });
    }
    all.join();
    EXPECT_EQ(total, 6L * 8 * rounds);
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
  }
}

TEST_P(recursive_mutex_test, is_free_when_it_has_been_unlocked_as_often) {
  run([] {
    recursive_mutex lock;
    lock.lock();
    EXPECT_TRUE(lock.try_lock());
    EXPECT_TRUE(lock.try_lock_for(0s));
    const auto others_get_it = [&] {
      return spawn([&] {
               const bool got = lock.try_lock_for(1ms);
               if (got) {
                 lock.unlock();
               }
               return got;
             }).join();
    };
    for (int left = 3; left != 0; --left) {
      EXPECT_FALSE(others_get_it());
      lock.unlock();
    }
    EXPECT_TRUE(others_get_it());
  });
}

TEST_P(recursive_mutex_test, a_cancelled_owner_is_told_so_and_keeps_what_it_has) {
  run([] {
    recursive_mutex lock;
    const std::lock_guard guard(lock);
    cancel_scope scope;
    scope.cancel();
    EXPECT_FALSE(scope.run([&] { lock.lock(); }));
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
  });
}

TEST(recursive_mutex_misuse, unlocking_what_another_holds_ends_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(run([] {
                 recursive_mutex lock;
                 lock.lock();
                 spawn([&] { lock.unlock(); }).join();
               }),
               "recursive_mutex::unlock: the caller does not hold it");
}

}  // namespace
}  // namespace aramid::test
