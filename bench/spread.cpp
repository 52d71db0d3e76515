// Work that has to spread over the workers by itself: one fiber spawns pieces of about 5 µs of CPU each. Beside it two plain
// threads that take the same pieces by an atomic index. `spread/aramid/<workers>` is the time of a piece.
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/task_group.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

constexpr int pieces = 2000;

/// The pieces differ in size by up to four times.
void work(int piece) {
  std::uint64_t x = static_cast<std::uint64_t>(piece) * 0x9e3779b97f4a7c15U + 1;
  const int rounds = 2000 * (1 + piece % 4);
  for (int i = 0; i < rounds; ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
  }
  benchmark::DoNotOptimize(x);
}

void on_workers(benchmark::State& state, unsigned workers) {
  on_fiber(
      [&] {
        repeat(
            state,
            [] {
              task_group all;
              for (int i = 0; i < pieces; ++i) {
                (void)all.spawn([i] { work(i); });
              }
              all.join();
            },
            pieces);
      },
      workers);
}

void on_threads(benchmark::State& state, unsigned threads) {
  repeat(
      state,
      [&] {
        std::atomic<int> next{0};
        const auto take_pieces = [&] {
          for (int i = next++; i < pieces; i = next++) {
            work(i);
          }
        };
        std::vector<std::jthread> others;
        for (unsigned i = 1; i < threads; ++i) {
          others.emplace_back(take_pieces);
        }
        take_pieces();
      },
      pieces);
}

const auto* const plain_1 = add("spread/std_thread/1", [](benchmark::State& s) { on_threads(s, 1); });
const auto* const plain_2 = add("spread/std_thread/2", [](benchmark::State& s) { on_threads(s, 2); });
const auto* const plain_8 = add("spread/std_thread/8", [](benchmark::State& s) { on_threads(s, 8); });
const auto* const ours_1 = add("spread/aramid/1", [](benchmark::State& s) { on_workers(s, 1); });
const auto* const ours_2 = add("spread/aramid/2", [](benchmark::State& s) { on_workers(s, 2); });
const auto* const ours_8 = add("spread/aramid/8", [](benchmark::State& s) { on_workers(s, 8); });

}  // namespace
}  // namespace aramid::bench
