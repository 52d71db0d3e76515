// The sum of an array by halving: a fiber for one half, this one for the other, until 4,096 numbers are left, a few microseconds'
// work. Beside it plain threads with an equal share each. The numbers are floating-point, which no compiler may add in another
// order, so that every language has the same work. `parallel_sum/<who>/<workers>` is the time of a piece of 4,096.
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <stdexcept>
#include <thread>
#include <vector>

#include <aramid/fiber.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

constexpr std::size_t piece = 4096;
constexpr std::size_t pieces = 256;
constexpr std::size_t count = piece * pieces;
constexpr double right_sum = double{count} * (count - 1) / 2;  // exact, as is every sum on the way

std::vector<double> make_numbers() {
  std::vector<double> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0.0);
  return numbers;
}

double plain_sum(std::span<const double> numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 0.0);
}

void check(double sum) {
  if (sum != right_sum) {
    throw std::logic_error("parallel_sum: wrong sum");
  }
}

double forked_sum(std::span<const double> numbers) {
  if (numbers.size() <= piece) {
    return plain_sum(numbers);
  }
  const std::size_t half = numbers.size() / 2;
  auto left = spawn(forked_sum, numbers.first(half));
  const double right = forked_sum(numbers.subspan(half));
  return left.join() + right;
}

void on_workers(benchmark::State& state, unsigned workers) {
  const std::vector<double> numbers = make_numbers();
  on_fiber(
      [&] {
        repeat(
            state, [&] { check(forked_sum(numbers)); }, std::int64_t{pieces});
      },
      workers);
}

void on_threads(benchmark::State& state, unsigned threads) {
  const std::vector<double> numbers = make_numbers();
  const std::size_t share = count / threads;
  std::vector<double> sums(threads);
  repeat(
      state,
      [&] {
        const auto add_up = [&](unsigned i) {
          sums[i] = plain_sum(std::span(numbers).subspan(i * share, share));
        };
        {
          std::vector<std::jthread> others;
          for (unsigned i = 1; i < threads; ++i) {
            others.emplace_back(add_up, i);
          }
          add_up(0);
        }
        check(plain_sum(sums));
      },
      std::int64_t{pieces});
}

const auto* const plain_1 =
    add("parallel_sum/std_thread/1", [](benchmark::State& s) { on_threads(s, 1); });
const auto* const plain_2 =
    add("parallel_sum/std_thread/2", [](benchmark::State& s) { on_threads(s, 2); });
const auto* const ours_1 =
    add("parallel_sum/aramid/1", [](benchmark::State& s) { on_workers(s, 1); });
const auto* const ours_2 =
    add("parallel_sum/aramid/2", [](benchmark::State& s) { on_workers(s, 2); });

}  // namespace
}  // namespace aramid::bench
