#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include <aramid/latch.hpp>

namespace aramid::inline v0 {

latch::latch(std::ptrdiff_t expected) : count_(expected) {
  if (expected < 0) {
    throw std::invalid_argument("aramid::latch: the count must not be negative");
  }
}

void latch::count_down_to_zero(std::ptrdiff_t n) noexcept {
  waiters_.change_state([&] {
    // acq_rel: the waiters see what was before every count_down, and not only before this one.
    const std::ptrdiff_t left = count_.fetch_sub(n, std::memory_order_acq_rel) - n;
    if (n < 0 || left < 0) {
      std::fprintf(stderr, "aramid: latch::count_down(%td): %s\n", n, n < 0 ? "a negative number" : "more than is left");
      std::abort();
    }
    return left == 0;
  });
}

bool latch::wait_slowly(time_point deadline) {
  return waiters_.wait_or_throw([this] { return count_.load(std::memory_order_relaxed) == 0; }, {"latch::wait", this}, deadline);
}

}  // namespace aramid::inline v0
