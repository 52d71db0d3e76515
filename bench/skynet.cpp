// Skynet: a tree of 1,111,111 fibers, ten children each; a leaf returns its number, the others the sum of their children.
#include <array>
#include <fstream>
#include <stdexcept>
#include <string>

#include <aramid/fiber.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

constexpr long leaves = 1'000'000;

long skynet(long first, long size) {
  if (size == 1) {
    return first;
  }
  std::array<fiber<long>, 10> children;
  const long part = size / 10;
  for (std::size_t i = 0; i < children.size(); ++i) {
    children[i] = spawn(skynet, first + static_cast<long>(i) * part, part);
  }
  long sum = 0;
  for (fiber<long>& each : children) {
    sum += each.join();
  }
  return sum;
}

/// Peak resident memory since the last reset, in MiB.
void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }
double peak_memory_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == "VmHWM:") {
      double kib = 0;
      status >> kib;
      return kib / 1024;
    }
  }
  return 0;
}

void measure(benchmark::State& state, unsigned workers) {
  reset_peak_memory();
  on_fiber(
      [&] {
        for (auto _ : state) {
          if (skynet(0, leaves) != leaves * (leaves - 1) / 2) {
            throw std::logic_error("skynet: wrong sum");
          }
        }
      },
      workers);
  state.counters["peak_rss_mib"] = peak_memory_mib();
}

const auto* const one = add("skynet/aramid/1", [](benchmark::State& s) { measure(s, 1); })
                            -> Unit(benchmark::kMillisecond);
const auto* const two = add("skynet/aramid/2", [](benchmark::State& s) { measure(s, 2); })
                            -> Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace aramid::bench
