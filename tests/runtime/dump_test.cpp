#include <aramid/dump.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <shared_mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/barrier.hpp>
#include <aramid/blocking.hpp>
#include <aramid/channel.hpp>
#include <aramid/condition_variable.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/latch.hpp>
#include <aramid/mutex.hpp>
#include <aramid/promise.hpp>
#include <aramid/run.hpp>
#include <aramid/select.hpp>
#include <aramid/semaphore.hpp>
#include <aramid/shared_mutex.hpp>
#include <aramid/std_guard.hpp>
#include <aramid/task_group.hpp>

#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

// Not hidden: their names are looked for in the stacks. Nothing comes behind the calls' returns that could make them tail calls.

__attribute__((noinline)) int named_function_that_waits(channel<int>& from) {
  const int got = from.receive().value_or(-1);
  asm volatile("" ::: "memory");
  return got;
}

__attribute__((noinline)) int named_function_that_computes(const std::atomic<bool>& go_on) {
  int rounds = 0;
  while (go_on) {
    ++rounds;
    asm volatile("" ::: "memory");
  }
  return rounds;
}

namespace {

/// The part of a dump that is about the fiber called `name`.
std::string part_about(const std::string& dump, const std::string& name) {
  const std::size_t begin = dump.find("fiber '" + name + "'");
  if (begin == std::string::npos) {
    return {};
  }
  return dump.substr(begin, dump.find("\nfiber", begin) - begin);
}

/// -1 if it does not wait.
double seconds_waited(const std::string& part) {
  const std::string before = "waiting for ";
  const std::size_t at = part.find(before);
  return at == std::string::npos ? -1 : std::stod(part.substr(at + before.size()));
}

class dump_test : public runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, dump_test, worker_counts);

TEST_P(dump_test, says_what_each_waits_for_and_where) {
  runtime rt(options{.workers = workers()});
  channel<int> numbers;
  mutex lock;
  shared_mutex shared;
  counting_semaphore<> permits(0);
  condition_variable condition;
  event happens;
  latch counts(1);
  barrier<> phases(2);
  promise<> answer;
  auto asked = answer.get_future();
  std::vector<fiber<>> all;
  const auto begin = [&](const char* name, auto fn) { all.push_back(rt.spawn(fiber_options{.name = name}, fn)); };
  std::atomic<bool> over = false;
  lock.lock();
  shared.lock();
  auto waited_for = rt.spawn([&] { happens.wait(); });
  const std::vector<std::pair<const char*, const char*>> expected{
      {"receives", "channel::receive"},   {"sends", "channel::send"},        {"locks", "mutex::lock"},
      {"shares", "shared_mutex::lock_shared"}, {"writes", "shared_mutex::lock "}, {"acquires", "semaphore::acquire"},
      {"waits", "condition_variable::wait"}, {"for-event", "event::wait"},     {"for-latch", "latch::wait"},
      {"for-phase", "barrier::wait"},     {"for-promise", "future::wait"},   {"sleeps", "this_fiber::sleep"},
      {"selects", "select"},              {"joins", "fiber::join"},          {"joins-group", "task_group::join"},
      {"offloads", "blocking"}};
  channel<int> unread;
  begin("receives", [&] { named_function_that_waits(numbers); });
  begin("sends", [&] { unread.send(1); });
  begin("locks", [&] { const std::lock_guard guard(lock); });
  begin("shares", [&] { const std::shared_lock guard(shared); });
  begin("writes", [&] { const std::lock_guard guard(shared); });
  begin("acquires", [&] { permits.acquire(); });
  begin("waits", [&] {
    mutex own;
    std::unique_lock guard(own);
    condition.wait(guard, [&] { return over.load(); });
  });
  begin("for-event", [&] { happens.wait(); });
  begin("for-latch", [&] { counts.wait(); });
  begin("for-phase", [&] { phases.arrive_and_wait(); });
  begin("for-promise", [&] { asked.get(); });
  begin("sleeps", [] { this_fiber::sleep_for(1h); });
  begin("selects", [&] { select(on_receive(numbers), on_set(happens)); });
  begin("joins", [&] { waited_for.join(); });
  begin("joins-group", [&] {
    with_task_group([&](task_group& group) { group.spawn([&] { happens.wait(); }); });
  });
  begin("offloads", [&] {
    blocking([](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        std::this_thread::sleep_for(1ms);
      }
    });
  });
  std::string dump;
  EXPECT_TRUE(eventually([&] {
    dump = rt.dump_fibers();
    for (const auto& [name, what] : expected) {
      if (part_about(dump, name).find(" s in " + std::string(what)) == std::string::npos) {
        return false;
      }
    }
    return dump.find("inside blocking()") != std::string::npos;
  })) << dump;
  std::ostringstream address;
  address << static_cast<const void*>(&numbers);
  EXPECT_THAT(part_about(dump, "receives"), HasSubstr("channel::receive (" + address.str() + ")"));
  EXPECT_THAT(part_about(dump, "receives"), HasSubstr("named_function_that_waits"));
  EXPECT_THAT(part_about(dump, "sleeps"), Not(HasSubstr("named_function_that_waits")));
  EXPECT_THAT(dump, HasSubstr("fibers on " + std::to_string(workers()) + " worker"));
  EXPECT_THAT(dump, HasSubstr("fiber 'offloads' (" + std::to_string(all.back().get_id()) + ") has been inside blocking()"));
  for (auto& each : all) {
    each.cancel();
  }
  lock.unlock();
  shared.unlock();
  happens.set();
}

TEST_P(dump_test, says_what_runs_and_what_has_not_started_and_since_when) {
  runtime rt(options{.workers = workers()});
  std::atomic<bool> go_on = true;
  std::atomic<unsigned> computing = 0;
  std::vector<fiber<>> all;
  for (unsigned i = 0; i != workers(); ++i) {
    all.push_back(rt.spawn(fiber_options{.name = "computes"}, [&] {
      ++computing;
      named_function_that_computes(go_on);
    }));
    EXPECT_TRUE(eventually([&] { return computing == i + 1; }));
  }
  all.push_back(rt.spawn(fiber_options{.name = "late"}, [] {}));
  const std::string dump = rt.dump_fibers();
  EXPECT_THAT(part_about(dump, "late"), HasSubstr("not started"));
  EXPECT_THAT(part_about(dump, "computes"), HasSubstr("running on worker"));
  if (!sanitized) {  // else it is asked where it is in the sanitizer, which has no frame pointers
    EXPECT_THAT(part_about(dump, "computes"), HasSubstr("named_function_that_computes"));
  }
  go_on = false;
  channel<int> numbers;
  all.push_back(rt.spawn(fiber_options{.name = "old"}, [&] { named_function_that_waits(numbers); }));
  EXPECT_TRUE(eventually([&] { return seconds_waited(part_about(rt.dump_fibers(), "old")) > 0.05; }));
  all.back().cancel();
}

TEST_P(dump_test, says_who_is_cancelled_and_goes_on) {
  run([] {
    event go;
    auto stubborn = spawn(fiber_options{.name = "stubborn"}, [&] {
      const shield from_all;
      go.wait();
    });
    EXPECT_TRUE(eventually([] { return part_about(dump_fibers(), "stubborn").find("event::wait") != std::string::npos; }));
    EXPECT_THAT(part_about(dump_fibers(), "stubborn"), Not(HasSubstr(", cancelled")));
    // Of itself a fiber knows that it runs.
    auto self = spawn(fiber_options{.name = "me"}, [] { return dump_fibers(); });
    EXPECT_THAT(part_about(self.join(), "me"), HasSubstr("running on worker"));
    {
      cancel_scope scope;
      scope.run([&] {
        scope.cancel();
        EXPECT_THAT(dump_fibers(), HasSubstr(", cancelled"));
      });
    }
    go.set();
    stubborn.join();
  });
  EXPECT_THROW((void)dump_fibers(), std::logic_error);
}

// Dumps while everything moves: no frame of one fiber is read as another's, nothing is touched that has gone.
TEST_P(dump_test, may_be_taken_at_any_time) {
  runtime rt(options{.workers = workers()});
  std::atomic<bool> over = false;
  std::thread looks([&] {
    while (!over) {
      const std::string dump = rt.dump_fibers();
      EXPECT_THAT(dump, HasSubstr("driver none"));
    }
  });
  rt.spawn([&] {
      for (int round = 0; round != scaled(60, 4); ++round) {
        with_task_group([&](task_group& group) {
          channel<int> numbers(round % 2);
          for (int i = 0; i != 20; ++i) {
            group.spawn(fiber_options{.name = "sends"}, [&, i] {
              numbers.send(i);
              this_fiber::sleep_for(std::chrono::microseconds(i));
            });
            group.spawn(fiber_options{.name = "gets"}, [&] { named_function_that_waits(numbers); });
          }
          group.join();
        });
      }
    }).join();
  over = true;
  looks.join();
}

TEST_P(dump_test, comes_on_sigquit_if_that_was_asked_for) {
  struct sigaction before {};
  ASSERT_EQ(sigaction(SIGQUIT, nullptr, &before), 0);
  {
    const captured_log log;
    runtime rt(options{.workers = workers(), .dump_on_sigquit = true});
    runtime other(options{.workers = 1, .dump_on_sigquit = true});
    event go;
    auto waits = rt.spawn(fiber_options{.name = "in-one"}, [&] { go.wait(); });
    auto too = other.spawn(fiber_options{.name = "in-another"}, [&] { go.wait(); });
    EXPECT_TRUE(eventually([&] {
      return part_about(rt.dump_fibers(), "in-one").find("event::wait") != std::string::npos &&
             part_about(other.dump_fibers(), "in-another").find("event::wait") != std::string::npos;
    }));
    for (std::size_t times = 1; times != 3; ++times) {
      if (sanitized) {
        // TSan calls no handler on a thread that sleeps in a system call which it does not know; and of `raise` it may make two signals.
        const std::size_t before_it = log.count("in-one") + log.count("in-another");
        ASSERT_EQ(raise(SIGQUIT), 0);
        EXPECT_TRUE(eventually([&] { return log.count("in-one") + log.count("in-another") >= before_it + 2; }));
        continue;
      }
      ASSERT_EQ(kill(getpid(), SIGQUIT), 0);
      EXPECT_TRUE(eventually([&] { return log.count("in-one") == times && log.count("in-another") == times; }));
      EXPECT_EQ(log.count("SIGQUIT: "), 2 * times);
    }
    go.set();
    waits.join();
    too.join();
  }
  struct sigaction after {};
  ASSERT_EQ(sigaction(SIGQUIT, nullptr, &after), 0);
  EXPECT_EQ(after.sa_handler, before.sa_handler);
}

TEST_P(dump_test, a_deadlock_is_reported_once_with_who_waits_for_what) {
  const captured_log log;
  runtime rt(options{.workers = workers(), .report_deadlocks = true});
  mutex left;
  mutex right;
  latch both(2);
  const auto embrace = [&](mutex& mine, mutex& theirs) {
    const std::lock_guard first(mine);
    both.arrive_and_wait();
    const std::lock_guard second(theirs);
  };
  auto one = rt.spawn(fiber_options{.name = "one"}, [&] { embrace(left, right); });
  auto two = rt.spawn(fiber_options{.name = "two"}, [&] { embrace(right, left); });
  EXPECT_TRUE(eventually([&] { return log.count("a deadlock") != 0; }));
  ASSERT_EQ(log.count("a deadlock"), 1U);
  const std::string line = log.lines().front();
  std::ostringstream address;
  address << "mutex::lock (" << static_cast<const void*>(&right) << ')';
  EXPECT_THAT(part_about(line, "one"), HasSubstr(address.str()));
  EXPECT_THAT(part_about(line, "two"), HasSubstr("mutex::lock"));
  one.cancel();
  two.cancel();
}

TEST_P(dump_test, what_will_be_woken_is_no_deadlock) {
  const captured_log log;
  runtime rt(options{.workers = workers(), .report_deadlocks = true});
  event never;
  auto sleeps = rt.spawn([&] {
    EXPECT_FALSE(never.wait_for(1200ms));  // longer than the watchdog's patience
  });
  auto calls = rt.spawn([] { blocking([] { std::this_thread::sleep_for(1200ms); }); });
  auto waits = rt.spawn([&] { never.wait(); });
  sleeps.join();
  calls.join();
  EXPECT_EQ(log.count("a deadlock"), 0U);
  never.set();
  waits.join();
}

#if defined(ARAMID_ENABLE_ASSERT) && ARAMID_ENABLE_ASSERT
constexpr std::size_t if_checked = 1;
#else
constexpr std::size_t if_checked = 0;
#endif

TEST_P(dump_test, a_fiber_that_suspends_with_a_std_lock_is_reported) {
  const captured_log log;
  std::mutex lock;
  run([&] {
    {
      const std_guard guard(lock);  // no wait in between
    }
    auto careless = spawn(fiber_options{.name = "careless", .pinned = true}, [&] {
      const std_guard guard(lock);
      this_fiber::sleep_for(1ms);
      this_fiber::sleep_for(1ms);
    });
    careless.join();
    this_fiber::sleep_for(1ms);
  });
  EXPECT_EQ(log.count("'careless'"), if_checked);
  EXPECT_EQ(log.count("this_fiber::sleep"), if_checked);
  EXPECT_EQ(log.count("std_guard"), if_checked);
}

}  // namespace

}  // namespace aramid::test
