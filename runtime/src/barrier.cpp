#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include <aramid/barrier.hpp>

namespace aramid::inline v0::detail {

barrier_base::barrier_base(std::ptrdiff_t expected) : expected_(expected), pending_(expected) {
  if (expected < 0) {
    throw std::invalid_argument("aramid::barrier: the count must not be negative");
  }
}

barrier_base::arrival barrier_base::arrive_for(std::ptrdiff_t n, std::ptrdiff_t dropped) noexcept {
  arrival mine{arrival_token(0), false};
  waiters_.change_state([&] {
    if (n <= 0 || n > pending_) {
      std::fprintf(stderr, "aramid: barrier::arrive(%td): this phase waits for %td\n", n, pending_);
      std::abort();
    }
    mine.token.phase_ = phase_.load(std::memory_order_relaxed);
    expected_ -= dropped;
    pending_ -= n;
    mine.is_last = pending_ == 0;
    return false;
  });
  return mine;
}

void barrier_base::begin_next_phase() noexcept {
  waiters_.change_state([this] {
    pending_ = expected_;
    // release: pairs with the acquire in `wait_for_phase`.
    phase_.store(phase_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    return true;
  });
}

void barrier_base::wait_for_phase(const arrival_token& token, withdrawal when_cancelled) {
  if (phase_.load(std::memory_order_acquire) != token.phase_) {
    waiters_.let_go();
    return;
  }
  const auto is_over = [&] { return phase_.load(std::memory_order_relaxed) != token.phase_; };
  const wait_note note{"barrier::wait", this};
  if (waiters_.wait(is_over, note, cancellable::yes, time_point::max()) == wake_reason::notified) {
    return;
  }
  bool too_late = false;
  if (when_cancelled == withdrawal::yes) {
    waiters_.change_state([&] {
      too_late = is_over() || pending_ == 0;
      pending_ += too_late ? 0 : 1;
      return false;
    });
  }
  if (!too_late) {
    throw_cancelled();
  }
  // The last has arrived: its completion may be running still.
  waiters_.wait(is_over, note, cancellable::no, time_point::max());
}

}  // namespace aramid::inline v0::detail
