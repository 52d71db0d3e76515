// Boost.Fiber on several threads, each with the round_robin scheduler it comes with: fibers stay where they were made, so they are
// dealt out evenly by hand.
#include <boost/fiber/buffered_channel.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/mutex.hpp>
#include <thread>
#include <vector>

#include "../bench_support.hpp"
#include "../peer_work.hpp"

namespace aramid::bench {
namespace {

namespace fibers = boost::fibers;

/// Runs `count` fibers on this thread until all have ended.
template <class Fn>
void run_here(int count, Fn&& fn) {
  std::vector<fibers::fiber> all;
  for (int i = 0; i < count; ++i) {
    all.emplace_back(fn);
  }
  for (fibers::fiber& each : all) {
    each.join();
  }
}

/// The same, on this thread and `threads` - 1 others.
template <class Fn>
void run_on_threads(int threads, int count, Fn&& fn) {
  const int share = count / threads;
  std::vector<std::jthread> others;
  for (int i = 1; i < threads; ++i) {
    others.emplace_back([&] { run_here(share, fn); });
  }
  run_here(share, fn);
}

void contended(benchmark::State& state) {
  fibers::mutex lock;
  long sum = 0;
  repeat(
      state, [&] { run_on_threads(2, contenders, [&] { take_turns(lock, sum); }); },
      contenders * turns);
}

void many_to_one(benchmark::State& state) {
  fibers::buffered_channel<long> items(many_to_one_buffer);
  const auto produce = [&] {
    for (long n = 0; items.push(n) == fibers::channel_op_status::success; ++n) {
    }
  };
  const std::jthread other([&] { run_here(producers / 2, produce); });
  fibers::fiber here([&] { run_here(producers / 2, produce); });
  repeat(state, [&] {
    long item = 0;
    items.pop(item);
    benchmark::DoNotOptimize(item);
  });
  items.close();
  here.join();
}

/// Is the consumer of its pair.
void run_pair() {
  fibers::buffered_channel<long> items(pair_buffer);
  fibers::fiber producer([&] {
    for (long n = 0; n < items_of_pair; ++n) {
      items.push(n);
    }
    items.close();
  });
  long item = 0;
  while (items.pop(item) == fibers::channel_op_status::success) {
    benchmark::DoNotOptimize(item);
  }
  producer.join();
}

void all_pairs(benchmark::State& state, int threads) {
  repeat(
      state, [&] { run_on_threads(threads, pairs, run_pair); }, pairs * items_of_pair);
}

const auto* const lock = add("mutex_contended/boost_fiber", contended);
const auto* const channel = add("channel_many_to_one/boost_fiber", many_to_one);
const auto* const pairs_1 =
    add("pairs/boost_fiber/1", [](benchmark::State& s) { all_pairs(s, 1); });
const auto* const pairs_2 =
    add("pairs/boost_fiber/2", [](benchmark::State& s) { all_pairs(s, 2); });
const auto* const pairs_8 =
    add("pairs/boost_fiber/8", [](benchmark::State& s) { all_pairs(s, 8); });

}  // namespace
}  // namespace aramid::bench
