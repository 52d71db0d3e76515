// What a thread has of its own, as a fiber sees it that has woken on another: the library's state, errno, a thread_local. Compilers
// take such addresses once per function if one lets them, so this is also built with all that an optimiser does
// (the tests whole_program.*).
#include "runtime/src/thread_state.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include <aramid/detail/config.hpp>
#include <aramid/detail/runtime_ref.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

#include "migrate.hpp"
#include "runtime/src/fiber_control.hpp"
#include "runtime/src/worker.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

class thread_state_test : public runtime_test {};

INSTANTIATE_TEST_SUITE_P(workers, thread_state_test, worker_counts);

thread_local const char of_the_thread = 0;

// As users are told to write them: opaque, with a barrier.
ARAMID_PER_THREAD const void* address_of_thread_local() noexcept {
  asm volatile("" ::: "memory");
  return &of_the_thread;
}
ARAMID_PER_THREAD const void* address_of_errno() noexcept {
  asm volatile("" ::: "memory");
  return &errno;
}

/// What a thread had when it was first seen.
struct sight {
  std::atomic<bool> seen{false};
  std::thread::id thread;
  const void* thread_local_at = nullptr;
  const void* errno_at = nullptr;
};

TEST_P(thread_state_test, a_fiber_finds_what_is_of_the_thread_it_woke_on) {
  std::array<sight, 8> sights;
  std::atomic<int> moves{0};
  run([&] {
    std::vector<fiber<>> fibers;
    for (int i = 0; i != 16; ++i) {
      // All in one function with its suspensions, for the optimiser to make something of.
      fibers.push_back(spawn([&] {
        const auto* const self = detail::current_fiber();
        const auto* const core = detail::current_runtime();
        for (int round = 0; round != scaled(200, 20); ++round) {
          const detail::worker* const w = detail::current_worker();
          sight& mine = sights[w->index];
          // Two fibers never run on one worker at once.
          if (!mine.seen.load(std::memory_order_acquire)) {
            mine.thread = this_thread_id();
            mine.thread_local_at = address_of_thread_local();
            mine.errno_at = address_of_errno();
            mine.seen.store(true, std::memory_order_release);
          }
          ASSERT_EQ(mine.thread, this_thread_id());
          ASSERT_EQ(mine.thread_local_at, address_of_thread_local());
          ASSERT_EQ(mine.errno_at, address_of_errno());
          ASSERT_EQ(static_cast<const detail::fiber_control*>(self)->on, w);
          ASSERT_EQ(detail::state_of_thread()->on, w);
          ASSERT_EQ(detail::current_fiber(), self);
          ASSERT_EQ(&detail::current_waiter(), self);
          ASSERT_EQ(detail::current_runtime(), core);
          ASSERT_TRUE(detail::on_fiber());
          moves += migrate(100) ? 1 : 0;
        }
      }));
    }
    for (auto& each : fibers) {
      each.join();
    }
  });
  if (workers() > 1) {
    EXPECT_GT(moves, 0);
  }
}

// Suspended, others run on the thread and may change its errno; else nobody does.
TEST_P(thread_state_test, a_wait_that_is_over_at_once_keeps_errno) {
  run([] {
    auto ended = spawn([] {});
    ASSERT_TRUE(eventually([&] { return ended.done(); }));
    errno = EXDEV;
    ended.join();
    const int after = errno;
    EXPECT_EQ(after, EXDEV);
  });
}

}  // namespace
}  // namespace aramid::test
