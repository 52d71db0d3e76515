// Channels that several sides want: four producers and one consumer on two workers; a question and its answer between a plain
// thread and a fiber, beside two threads with a condition variable.
#include <sched.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include <aramid/channel.hpp>
#include <aramid/fiber.hpp>

#include "bench_support.hpp"
#include "peer_work.hpp"

namespace aramid::bench {
namespace {

const auto* const many_to_one = add("channel_many_to_one/aramid", [](benchmark::State& state) {
  on_fiber(
      [&] {
        channel<long> items(many_to_one_buffer);
        std::vector<fiber<>> all;
        for (int i = 0; i < producers; ++i) {
          all.push_back(spawn([&] {
            try {
              for (long n = 0;; ++n) {
                items.send(n);
              }
            } catch (const channel_closed&) {
            }
          }));
        }
        repeat(state, [&] { benchmark::DoNotOptimize(*items.receive()); });
        items.close();
        for (fiber<>& each : all) {
          each.join();
        }
      },
      2);
});

/// Keeps the calling thread, and those that it starts, on the CPU where it is. Whether the kernel puts two threads that wake each
/// other on one CPU or on two makes ten times as much as what is measured.
class on_one_cpu {
public:
  on_one_cpu() {
    ::sched_getaffinity(0, sizeof(before_), &before_);
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(static_cast<unsigned>(::sched_getcpu()), &here);
    ::sched_setaffinity(0, sizeof(here), &here);
  }
  ~on_one_cpu() { ::sched_setaffinity(0, sizeof(before_), &before_); }

  on_one_cpu(const on_one_cpu&) = delete;
  on_one_cpu& operator=(const on_one_cpu&) = delete;

private:
  cpu_set_t before_{};
};

const auto* const thread_to_fiber = add("thread_to_fiber/aramid", [](benchmark::State& state) {
  const on_one_cpu pinned;
  runtime rt(options{.workers = 1});
  channel<long> questions(1), answers(1);
  auto answering = rt.spawn([&] {
    for (const long question : questions) {
      answers.send(question + 1);
    }
  });
  repeat(state, [&] {
    questions.send(1);
    benchmark::DoNotOptimize(*answers.receive());
  });
  questions.close();
  answering.join();
});

/// A place for one item.
class mailbox {
public:
  void put(long item) {
    {
      const std::lock_guard guard(lock_);
      item_ = item;
      full_ = true;
    }
    filled_.notify_one();
  }
  long take() {
    std::unique_lock guard(lock_);
    filled_.wait(guard, [this] { return full_; });
    full_ = false;
    return item_;
  }

private:
  std::mutex lock_;
  std::condition_variable filled_;
  long item_ = 0;
  bool full_ = false;
};

const auto* const thread_to_thread = add("thread_to_fiber/std_thread", [](benchmark::State& state) {
  const on_one_cpu pinned;
  mailbox questions, answers;
  std::thread answering([&] {
    for (long question = questions.take(); question != 0; question = questions.take()) {
      answers.put(question + 1);
    }
  });
  repeat(state, [&] {
    questions.put(1);
    benchmark::DoNotOptimize(answers.take());
  });
  questions.put(0);
  answering.join();
});

}  // namespace
}  // namespace aramid::bench
