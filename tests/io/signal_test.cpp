#include <aramid/io/signal.hpp>

#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <stdexcept>
#include <thread>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/timeout.hpp>

#include "leak_check.hpp"
#include "tests/runtime/scale.hpp"
#include "waiting.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using aramid::io::signal_set;

class signals : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(signals);

void (*handler_of(int number))(int) {
  struct sigaction action {};
  ::sigaction(number, nullptr, &action);
  return action.sa_handler;
}

TEST_P(signals, wait_returns_the_number) {
  run([] {
    signal_set set{SIGUSR1, SIGUSR2};
    fiber<int> waiting = spawn([&] { return set.wait(); });
    aramid::test::until_waiting_in("signal_set::wait");
    ::kill(::getpid(), SIGUSR2);
    EXPECT_EQ(waiting.join(), SIGUSR2);
    EXPECT_EQ(set.try_wait(), 0);
  });
}

TEST_P(signals, what_came_before_the_wait_is_there) {
  run([] {
    signal_set set{SIGUSR1, SIGUSR2};
    ::raise(SIGUSR2);
    ::raise(SIGUSR1);
    ::raise(SIGUSR1);
    EXPECT_EQ(set.wait(), std::min(SIGUSR1, SIGUSR2));
    EXPECT_EQ(set.wait(), std::max(SIGUSR1, SIGUSR2));
    EXPECT_EQ(set.try_wait(), 0);
  });
}

TEST_P(signals, every_set_gets_it) {
  run([] {
    signal_set first{SIGUSR1};
    signal_set second{SIGUSR1, SIGUSR2};
    ::raise(SIGUSR1);
    EXPECT_EQ(first.wait(), SIGUSR1);
    EXPECT_EQ(second.wait(), SIGUSR1);
    ::raise(SIGUSR2);
    EXPECT_EQ(second.wait(), SIGUSR2);
    EXPECT_EQ(first.try_wait(), 0);
  });
}

TEST_P(signals, disposition_is_restored_with_the_last_set) {
  const auto before = handler_of(SIGUSR1);
  {
    signal_set first{SIGUSR1};
    EXPECT_NE(handler_of(SIGUSR1), before);
    { const signal_set second{SIGUSR1}; }
    EXPECT_NE(handler_of(SIGUSR1), before);
    const signal_set moved = std::move(first);
    EXPECT_NE(handler_of(SIGUSR1), before);
  }
  EXPECT_EQ(handler_of(SIGUSR1), before);
}

TEST_P(signals, somebody_elses_later_handler_stays) {
  const auto before = handler_of(SIGUSR1);
  {
    const signal_set set{SIGUSR1};
    std::signal(SIGUSR1, SIG_IGN);
  }
  EXPECT_EQ(handler_of(SIGUSR1), SIG_IGN);
  std::signal(SIGUSR1, before);
}

TEST_P(signals, cancelled_wait_loses_no_signal) {
  run([] {
    signal_set set{SIGUSR1};
    EXPECT_THROW((void)with_timeout(5ms, [&] { return set.wait(); }), timeout_error);
    ::raise(SIGUSR1);
    EXPECT_EQ(with_timeout(10s, [&] { return set.wait(); }), SIGUSR1);
  });
}

// ThreadSanitizer keeps a signal back until its thread calls something that it intercepts. One that comes just before the thread goes to sleep in a
// raw system call it keeps for as long as that lasts. And gcc 12's loses the signal that comes while a thread calls for the first time what may block
// (SigCtx in tsan_interceptors_posix.cpp, mended in LLVM since).

/// Called while a signal is waited for: under TSan `poke()` is called once in a while, to send one that ends such a sleep.
template <class Poke>
void poke_under_tsan([[maybe_unused]] unsigned looks, [[maybe_unused]] Poke poke) {
#if defined(__SANITIZE_THREAD__)
  if (looks % 4096 == 0) {
    poke();
    ::usleep(0);  // the signal may be the caller's, who calls nothing else of the kind
  }
#endif
}

TEST_P(signals, from_any_thread_again_and_again) {
  run([] {
    signal_set set{SIGUSR1};
    const int rounds = aramid::test::scaled(2000, 100);
    std::atomic<int> seen{0};
    std::thread sender([&] {
      for (int i = 0; i < rounds; ++i) {
        ::kill(::getpid(), SIGUSR1);
        for (unsigned looks = 1; seen.load() <= i; ++looks) {
          poke_under_tsan(looks, [] { ::kill(::getpid(), SIGUSR1); });  // what TSan has lost
          std::this_thread::yield();
        }
      }
    });
    for (int i = 0; i < rounds; ++i) {
      ASSERT_EQ(set.wait(), SIGUSR1);
      seen.store(i + 1);
    }
    sender.join();
  });
}

// A signal may come to the worker's thread at any moment while the fiber that waits for it leaves: TSan must not keep it with the fiber.
TEST_P(signals, to_the_workers_own_thread_again_and_again) {
  if (GetParam().workers != 1) {
    GTEST_SKIP() << "the fiber would leave its thread";
  }
  run([] {
    signal_set set{SIGUSR1};
    const auto handler_before = std::signal(SIGUSR2, [](int) {});
    ::usleep(0);  // now TSan loses none of this fiber's,
    this_fiber::sleep_for(1ms);  // and none of the scheduler's
    const int rounds = aramid::test::scaled(20'000, 1000);
    std::atomic<int> seen{0};
    std::thread sender([&, worker = ::pthread_self()] {
      for (int i = 0; i < rounds; ++i) {
        ::pthread_kill(worker, SIGUSR1);
        for (unsigned looks = 1; seen.load() <= i; ++looks) {
          poke_under_tsan(looks, [&] { ::pthread_kill(worker, SIGUSR2); });  // another one: it ends no wait
          std::this_thread::yield();
        }
      }
    });
    for (int i = 0; i < rounds; ++i) {
      ASSERT_EQ(set.wait(), SIGUSR1);
      seen.store(i + 1);
    }
    sender.join();
    std::signal(SIGUSR2, handler_before);
  });
}

TEST_P(signals, sets_come_and_go_while_signals_rain) {
  // One set stays, so that the signal never has its default effect.
  signal_set staying{SIGUSR1};
  std::atomic<bool> stop{false};
  std::thread sender([&] {
    while (!stop.load()) {
      ::pthread_kill(::pthread_self(), SIGUSR1);
    }
  });
  for (int i = 0; i < aramid::test::scaled(2000, 100); ++i) {
    signal_set set{SIGUSR1};
    (void)set.try_wait();
  }
  stop.store(true);
  sender.join();
}

TEST_P(signals, refuses_what_cannot_be_waited_for) {
  for (const int number : {0, -1, 65, 1000, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    EXPECT_THROW(signal_set{number}, std::invalid_argument) << number;
  }
}

TEST_P(signals, second_waiter_is_told) {
  run([] {
    signal_set set{SIGUSR1};
    fiber<int> waiting = spawn([&] { return set.wait(); });
    aramid::test::until_waiting_in("signal_set::wait");
    EXPECT_THROW(set.wait(), std::logic_error);
    ::raise(SIGUSR1);
    EXPECT_EQ(waiting.join(), SIGUSR1);
    const signal_set moved = std::move(set);
    EXPECT_THROW(set.wait(), std::logic_error);
  });
}

TEST_P(signals, too_many_sets_is_an_error) {
  std::vector<signal_set> sets;
  EXPECT_THROW(
      {
        for (int i = 0; i < 100; ++i) {
          sets.emplace_back(std::initializer_list<int>{SIGUSR1});
        }
      },
      std::system_error);
  EXPECT_EQ(sets.size(), 64U);
}

}  // namespace
