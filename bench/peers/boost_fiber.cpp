// Boost.Fiber as it comes: its round_robin scheduler on one thread.
#include <boost/fiber/buffered_channel.hpp>
#include <boost/fiber/condition_variable.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/fixedsize_stack.hpp>
#include <boost/fiber/mutex.hpp>
#include <boost/fiber/operations.hpp>
#include <boost/fiber/unbuffered_channel.hpp>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "../bench_support.hpp"

namespace aramid::bench {
namespace {

namespace fibers = boost::fibers;

constexpr long at_once = 64;
const auto once = [] { boost::this_fiber::yield(); };

void yield(benchmark::State& state, int count) {
  bool stop = false;
  std::vector<fibers::fiber> others;
  // Stacks from malloc: with a guard page each, 32,768 of them are more mappings than a process may have.
  fibers::fixedsize_stack stacks(std::size_t{64} * 1024);
  for (int i = 1; i < count; ++i) {
    others.emplace_back(std::allocator_arg, stacks, [&] {
      while (!stop) {
        laps(at_once, once);
      }
    });
  }
  boost::this_fiber::yield();
  repeat(
      state, [] { laps(at_once, once); }, at_once * count);
  stop = true;
  for (fibers::fiber& each : others) {
    each.join();
  }
}

void spawn_join(benchmark::State& state) {
  long sum = 0;
  repeat(state, [&] { fibers::fiber([&] { ++sum; }).join(); });
  benchmark::DoNotOptimize(sum);
}

template <class Channel>
void channel_items(benchmark::State& state, Channel& items) {
  fibers::fiber producer([&] {
    for (long n = 0; items.push(n) == fibers::channel_op_status::success; ++n) {
    }
  });
  repeat(state, [&] {
    long item = 0;
    items.pop(item);
    benchmark::DoNotOptimize(item);
  });
  items.close();
  producer.join();
}

void rendezvous(benchmark::State& state) {
  fibers::unbuffered_channel<long> items;
  channel_items(state, items);
}

void buffered(benchmark::State& state) {
  fibers::buffered_channel<long> items(128);
  channel_items(state, items);
}

void uncontended(benchmark::State& state) {
  fibers::mutex lock;
  repeat(state, [&] {
    lock.lock();
    benchmark::ClobberMemory();
    lock.unlock();
  });
}

/// What one writes there for a semaphore of one permit, or an event that is cleared by whoever has waited.
class flag {
public:
  void raise() {
    const std::lock_guard guard(lock_);
    raised_ = true;
    changed_.notify_one();
  }
  void take() {
    std::unique_lock guard(lock_);
    changed_.wait(guard, [this] { return raised_; });
    raised_ = false;
  }

private:
  fibers::mutex lock_;
  fibers::condition_variable changed_;
  bool raised_ = false;
};

void hand_to_and_fro(benchmark::State& state) {
  flag here;
  flag there;
  bool stop = false;
  fibers::fiber other([&] {
    for (there.take(); !stop; there.take()) {
      here.raise();
    }
  });
  repeat(
      state,
      [&] {
        there.raise();
        here.take();
      },
      2);
  stop = true;
  there.raise();
  other.join();
}

const auto* const yield_2 = add("yield/boost_fiber", [](benchmark::State& s) { yield(s, 2); });
const auto* const yield_512 =
    add("yield/boost_fiber/512", [](benchmark::State& s) { yield(s, 512); });
const auto* const one_life = add("spawn_join/boost_fiber", spawn_join);
const auto* const no_buffer = add("channel_rendezvous/boost_fiber", rendezvous);
const auto* const with_buffer = add("channel_buffered/boost_fiber", buffered);
const auto* const lock = add("mutex/boost_fiber", uncontended);
const auto* const by_semaphore = add("semaphore_handoff/boost_fiber", hand_to_and_fro);
const auto* const by_event = add("event_handoff/boost_fiber", hand_to_and_fro);

}  // namespace
}  // namespace aramid::bench
