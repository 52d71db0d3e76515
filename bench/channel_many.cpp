// Channels that several sides want: four producers and one consumer on two workers; a question and its answer between a plain
// thread and a fiber, beside two threads with a condition variable.
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

const auto* const thread_to_fiber = add("thread_to_fiber/aramid", [](benchmark::State& state) {
  runtime rt(options{.workers = 1});
  channel<long> questions, answers;
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
