// Runtimes in programs that have a life of their own: made and ended a thousand times, beside a main loop, across fork.
#include <gtest/gtest.h>

#include <malloc.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/blocking.hpp>
#include <aramid/channel.hpp>
#include <aramid/dump.hpp>
#include <aramid/fiber.hpp>
#include <aramid/fiber_local.hpp>
#include <aramid/run.hpp>

#include "forked_child.hpp"
#include "mappings.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

using lifecycle_test = leaves_nothing;
using fork_test = forking<leaves_nothing>;

// --- again and again -------------------------------------------------------------------------------------------------

void start_use_and_stop() {
  runtime rt(options{.workers = 2});
  auto ended = rt.spawn([] {
    auto [out, in] = make_channel<int>(1);
    auto producer = spawn([out = std::move(out)]() mutable {
      out.send(1);
      this_fiber::sleep_for(1us);
      out.send(2);
    });
    return in.receive().value() + in.receive().value();
  });
  rt.spawn([] { sleep_until_cancelled(); }).detach();
  EXPECT_EQ(ended.join(), 3);
}

// A leak grows with every round, but what malloc and a sanitizer keep for a thread grows with how many threads there were at once, and that varies:
// at times the kernel ends one only after the next ones have begun. So each round adds far less than one of anything in some batch of them.
TEST_F(lifecycle_test, a_thousand_runtimes_leave_nothing) {
  const auto run_rounds = [](int rounds) {
    for (int i = 0; i != rounds; ++i) {
      start_use_and_stop();
    }
  };
  const auto in_use = [] {
    const struct mallinfo2 now = ::mallinfo2();
    return now.uordblks + now.hblkhd;
  };
  run_rounds(scaled(50, 20));
  const process_census before = process_census::take();
  const int rounds = scaled(1000, 200);
  const auto batch_leaves_nothing = [&] {
    const std::size_t mappings_before = mappings();
    const std::size_t bytes_before = in_use();
    run_rounds(rounds);
    EXPECT_TRUE(eventually([&] { return process_census::take() == before; }));
    return mappings() < mappings_before + 20 &&
           (sanitized || in_use() < bytes_before + 8 * static_cast<std::size_t>(rounds));
  };
  bool left_nothing = false;
  for (int batch = 0; batch != 5 && !left_nothing; ++batch) {
    left_nothing = batch_leaves_nothing();
  }
  EXPECT_TRUE(left_nothing) << mappings() << " mappings, " << in_use() << " B";
}

// Each stop walks over all control blocks, those of others too, and these are given back meanwhile.
TEST_F(lifecycle_test, runtimes_stop_while_others_give_their_memory_back) {
  std::atomic<bool> stop{false};
  std::thread walker([&] {
    while (!stop) {
      runtime rt(options{.workers = 1});
      std::vector<fiber<>> left;
      for (int i = 0; i != 20; ++i) {
        left.push_back(rt.spawn([] { sleep_until_cancelled(); }));
      }
      rt.stop();
      for (auto& each : left) {
        EXPECT_THROW(each.join(), fiber_cancelled);
      }
    }
  });
  for (int round = 0; round != scaled(20, 3); ++round) {
    aramid::run(
        [] {
          int ran = 0;
          std::vector<fiber<>> fibers;
          for (int i = 0; i != 30'000; ++i) {
            fibers.push_back(spawn([&ran] { ++ran; }));
          }
          for (auto& each : fibers) {
            each.join();
          }
          EXPECT_EQ(ran, 30'000);
        },
        options{.workers = 1});
  }
  stop = true;
  walker.join();
}

// --- beside a main loop ----------------------------------------------------------------------------------------------

/// What a program has that owns its main loop: anybody posts, the loop's thread runs.
class main_loop {
public:
  main_loop() : wakeup_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~main_loop() { ::close(wakeup_); }

  main_loop(const main_loop&) = delete;
  main_loop& operator=(const main_loop&) = delete;

  void post(std::function<void()> task) {
    {
      const std::lock_guard lock(lock_);
      tasks_.push_back(std::move(task));
    }
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(wakeup_, &one, sizeof one), static_cast<::ssize_t>(sizeof one));
  }

  void run() {
    while (!quit_) {
      pollfd source{wakeup_, POLLIN, 0};
      if (::poll(&source, 1, -1) != 1) {
        ASSERT_EQ(errno, EINTR);
        continue;
      }
      std::uint64_t count = 0;
      (void)!::read(wakeup_, &count, sizeof count);
      std::vector<std::function<void()>> tasks;
      {
        const std::lock_guard lock(lock_);
        tasks.swap(tasks_);
      }
      for (const auto& each : tasks) {
        each();
      }
    }
  }

  void quit() { quit_ = true; }

private:
  const int wakeup_;
  bool quit_ = false;  // the loop's thread only
  std::mutex lock_;
  std::vector<std::function<void()>> tasks_;
};

TEST_F(lifecycle_test, beside_a_main_loop) {
  constexpr int jobs = 200;
  main_loop loop;
  runtime rt(options{.workers = 2});
  const auto entered = rt.enter();
  std::vector<fiber<int>> running;
  int left = jobs;
  int sum = 0;
  std::atomic<bool> waits{false};
  std::atomic<bool> tidied{false};
  spawn([&] {
    try {
      waits = true;
      sleep_until_cancelled();
    } catch (const cancelled&) {
      tidied = true;
      throw;
    }
  }).detach();
  loop.post([&] {
    for (int i = 0; i != jobs; ++i) {
      running.push_back(spawn([i] {
        this_fiber::sleep_for(std::chrono::microseconds(i % 7));
        return i;
      }));
      // on_done is called on a worker: the result is taken on the loop's thread, where join returns at once.
      running.back().on_done([&, i] {
        loop.post([&, i] {
          fiber<int>& ended = running[static_cast<std::size_t>(i)];
          EXPECT_TRUE(ended.done());
          sum += ended.join();
          if (--left == 0) {
            loop.quit();
          }
        });
      });
    }
  });
  loop.run();
  EXPECT_EQ(sum, jobs * (jobs - 1) / 2);
  EXPECT_TRUE(eventually([&] { return waits.load(); }));
  rt.stop(1ms);
  EXPECT_TRUE(tidied);
  EXPECT_EQ(rt.stats().fibers, 0U);
  EXPECT_THROW((void)spawn([] {}), std::logic_error);
}

// --- fork ------------------------------------------------------------------------------------------------------------

template <class Fn>
bool refused(Fn fn) {
  try {
    fn();
  } catch (const std::logic_error&) {
    return true;
  }
  return false;
}

/// A runtime with fibers that sleep, and some that never rest.
struct busy_runtime {
  runtime rt{options{.workers = 2}};
  std::vector<fiber<>> fibers;

  busy_runtime() {
    for (int i = 0; i != 10; ++i) {
      fibers.push_back(rt.spawn([] { sleep_until_cancelled(); }));
      fibers.push_back(rt.spawn([] {
        for (;;) {
          spawn([] { this_fiber::yield(); }).join();
        }
      }));
    }
  }
};

TEST_F(fork_test, a_forked_child_leaves_the_runtime_alone) {
  busy_runtime parents;
  auto ended = parents.rt.spawn([] { return 7; });
  EXPECT_TRUE(eventually([&] { return ended.done(); }));
  for (int i = 0; i != scaled(50, 10); ++i) {
    EXPECT_TRUE(in_a_child([&] {
      return ended.join() == 7 && refused([&] { (void)parents.rt.spawn([] {}); }) &&
             refused([&] { parents.fibers.front().join(); }) &&
             refused([&] {
               const auto entered = parents.rt.enter();
               (void)spawn([] {});
             });
    }));
  }
}

TEST_F(fork_test, a_forked_child_stops_and_destroys_what_it_has_copies_of) {
  for (int i = 0; i != scaled(50, 10); ++i) {
    auto* const parents = new busy_runtime;
    EXPECT_TRUE(in_a_child([&] {
      parents->rt.stop();
      parents->rt.stop(1h);
      delete parents;
      return true;
    }));
    delete parents;
  }
}

TEST_F(fork_test, a_forked_child_makes_a_runtime_of_its_own) {
  busy_runtime parents;
  for (int i = 0; i != scaled(50, 10); ++i) {
    EXPECT_TRUE(in_a_child([&] {
      const int sum = aramid::run(
          [] {
            spawn([] { sleep_until_cancelled(); }).detach();  // found, cancelled and joined at the end
            int total = 0;
            for (int n = 0; n != 500; ++n) {
              total += spawn([n] {
                         this_fiber::yield();
                         return n;
                       }).join();
            }
            return total;
          },
          options{.workers = 2});
      parents.fibers.clear();
      return sum == 500 * 499 / 2;
    }));
  }
}

TEST_F(fork_test, a_forked_child_has_locals_calls_and_dumps_of_its_own) {
  runtime parents(options{.workers = 2, .dump_on_sigquit = true});
  std::atomic<bool> over = false;
  auto busy = parents.spawn([&] {
    while (!over) {
      const fiber_local<std::string> local;
      *local = "parent's";
      blocking([] {});
      (void)dump_fibers();
    }
  });
  const fiber_local<std::string> local;
  *local = "thread's";
  for (int i = 0; i != scaled(50, 10); ++i) {
    EXPECT_TRUE(in_a_child([&] {
      const bool well = aramid::run(
          [&] {
            const fiber_local<int> another;
            *another = blocking([] { return 7; });
            return *another == 7 && local.find() == nullptr && dump_fibers().find("1 fiber on 2 workers") == 0;
          },
          options{.workers = 2, .dump_on_sigquit = true});
      return well && *local == "thread's" && refused([&] { (void)parents.dump_fibers(); });
    }));
  }
  over = true;
  busy.join();
}

TEST_F(fork_test, a_fiber_that_forks_is_a_thread_in_the_child) {
  busy_runtime parents;
  for (int i = 0; i != scaled(20, 5); ++i) {
    parents.rt
        .spawn([&] {
          EXPECT_TRUE(in_a_child([&] {
            this_fiber::yield();
            this_fiber::sleep_for(1ms);
            return refused([] { (void)spawn([] {}); }) && refused([&] { parents.fibers.front().join(); });
          }));
        })
        .join();
  }
}

/// Whether `signal` is blocked for the calling thread.
bool is_blocked(int signal) {
  sigset_t now;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
  return ::sigismember(&now, signal) == 1;
}

// "workers block SIGPIPE; children get a clean mask": what such a child executes would not end when its pipe is broken.
TEST_F(fork_test, a_forked_child_hears_of_broken_pipes) {
  runtime parents(options{.workers = 2});
  const auto heard_in_a_child = [] {
    EXPECT_TRUE(is_blocked(SIGPIPE));
    return bool(in_a_child([] { return !is_blocked(SIGPIPE); }));
  };
  EXPECT_TRUE(parents.spawn(heard_in_a_child).join());
  EXPECT_TRUE(parents.spawn([&] { return blocking(heard_in_a_child); }).join());
}

TEST_F(fork_test, a_fiber_that_forks_makes_a_runtime_in_the_child) {
  busy_runtime parents;
  for (int i = 0; i != scaled(20, 5); ++i) {
    parents.rt
        .spawn([] {
          EXPECT_TRUE(in_a_child([] { return aramid::run([] { return spawn([] { return 7; }).join(); }) == 7; }));
        })
        .join();
  }
}

using fork_death_test = forking<leaves_nothing>;

TEST_F(fork_death_test, a_body_that_ends_in_the_child_says_which) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto in_the_child = [](void (*what)()) {
    aramid::run([what] {
      spawn(fiber_options{.name = "parent"}, [what] {
        const ::pid_t child = ::fork();
        if (child == 0) {
          what();
          return;
        }
        int status = 0;
        (void)::waitpid(child, &status, 0);
        ::_exit(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? 3 : 0);
      }).join();
    });
  };
  EXPECT_EXIT(in_the_child([] {}), ::testing::ExitedWithCode(3), "fiber 'parent' .* forked, and in the child returned");
  EXPECT_EXIT(in_the_child([] { throw std::runtime_error("alas"); }), ::testing::ExitedWithCode(3),
              "forked, and in the child failed: alas");
}

}  // namespace
}  // namespace aramid::test
