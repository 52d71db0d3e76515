// A lock and an unlock that nobody else wants.
#include <aramid/mutex.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

void uncontended(benchmark::State& state) {
  on_fiber([&] {
    mutex lock;
    repeat(state, [&] {
      lock.lock();
      benchmark::ClobberMemory();
      lock.unlock();
    });
  });
}

const auto* const registered = add("mutex/aramid", uncontended);

}  // namespace
}  // namespace aramid::bench
