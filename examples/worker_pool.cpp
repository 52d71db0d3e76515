// Work that computes, spread over all cores: counts the primes below two million, in a hundred ranges.

#include <iostream>
#include <set>
#include <thread>
#include <vector>

#include <aramid/aramid.hpp>

using namespace aramid;

namespace {

struct range {
  int first;
  int last;
};

struct counted {
  int primes;
  std::thread::id by;
};

bool is_prime(int n) {
  for (int divisor = 2; divisor * divisor <= n; ++divisor) {
    if (n % divisor == 0) {
      return false;
    }
  }
  return n >= 2;
}

counted count_primes(range numbers) {
  int primes = 0;
  for (int n = numbers.first; n < numbers.last; ++n) {
    primes += is_prime(n) ? 1 : 0;
  }
  return {primes, std::this_thread::get_id()};
}

}  // namespace

int main() {
  std::vector<range> ranges;
  for (int first = 0; first < 2'000'000; first += 20'000) {
    ranges.push_back({first, first + 20'000});
  }
  run([&] {
    // A few more than there are workers, so that none of them waits until this loop has fetched its result.
    fiber_pool pool(4 * stats().workers);
    int primes = 0;
    std::set<std::thread::id> workers;
    for (const counted& each : pool.map_unordered(ranges, count_primes)) {
      primes += each.primes;
      workers.insert(each.by);
    }
    std::cout << primes << " primes, counted by " << workers.size() << " of " << stats().workers << " workers\n";
  });
}
