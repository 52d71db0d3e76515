// One wait of a model thread: a word that is claimed once, by a waker, a canceller or a deadline; and what is broken in it, and in the
// lock beside it, when a test asks for a broken twin. What park_word_test.cpp proves of the product's word is taken for granted here.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

#include "litmus.hpp"

namespace model {

enum class twin : unsigned char {
  none,
  sees_no_lock,          // a waiter that saw the state does not wait for the lock to be free
  abandons_nothing,      // a case goes on, and the wait that others know of stays open
  takes_all_for_itself,  // whoever stands in a queue is taken for the one who looks
  takes_none_for_itself,
};

/// Constant while the explorer runs.
inline twin broken = twin::none;
inline bool is_broken(twin which) { return broken == which; }

inline void expect_twin_caught(twin which, const std::function<void()>& body, const std::string& what = "") {
  broken = which;
  expect_caught(body, what);
  broken = twin::none;
}

/// Which threads are inside `unless_cancelled`. Each writes its own.
inline std::array<bool, max_threads> cancellable_threads{};
inline bool& may_be_cancelled() { return cancellable_threads[static_cast<std::size_t>(explorer::current().self())]; }

/// A waiter's name. Its comparisons are where a twin goes wrong.
struct waiter_name {
  int thread = -1;
  static waiter_name self() { return {explorer::current().self()}; }
  friend bool operator==(const waiter_name& a, const waiter_name& b) {
    if (is_broken(twin::takes_all_for_itself)) return true;
    if (is_broken(twin::takes_none_for_itself)) return false;
    return a.thread == b.thread;
  }
};

/// Lies in what is copied: a copy reads the one cell and writes the other.
class tracked_copy {
public:
  tracked_copy() noexcept = default;
  tracked_copy(const tracked_copy& other) noexcept : cell_(other.cell_.read()) {}
  tracked_copy& operator=(const tracked_copy& other) noexcept {
    cell_.write(other.cell_.read());
    return *this;
  }

private:
  model::plain<int> cell_{0};
};

/// Timeouts. A deadline may come at any moment, or when it is of no use to those who wait for each other; or it may be certain, and comes
/// at the latest when nobody else can go on.
inline constexpr auto some_time = std::chrono::seconds(1);
inline constexpr auto at_last = std::chrono::seconds(2);

enum class wait_outcome : std::uint8_t { open, abandoned, notified, cancelled, timed_out };

/// The orders are those of runtime/src/park_word.hpp.
class modelled_wait {
public:
  bool claim(wait_outcome as) noexcept {
    wait_outcome expected = wait_outcome::open;
    return word_.compare_exchange_strong(expected, as, std::memory_order_acquire, std::memory_order_relaxed);
  }
  void deliver() noexcept { delivered_.signal(); }

  bool abandon() noexcept {
    if (is_broken(twin::abandons_nothing)) return true;
    wait_outcome expected = wait_outcome::open;
    return word_.compare_exchange_strong(expected, wait_outcome::abandoned, std::memory_order_relaxed,
                                         std::memory_order_relaxed);
  }

  /// Waits for whoever claims it. A cancellation or a deadline may be first.
  wait_outcome end(bool may_cancel, std::chrono::nanoseconds until) noexcept {
    std::array<wait_outcome, 3> ways{};
    std::size_t count = 0;
    if (until != at_last) ways[count++] = wait_outcome::notified;
    if (may_cancel) ways[count++] = wait_outcome::cancelled;
    if (until == some_time || until == at_last) ways[count++] = wait_outcome::timed_out;
    const wait_outcome way = ways[choose(count)];
    if (way != wait_outcome::notified) {
      // At once, or when others have run: how far is then the scheduler's choice.
      if (choose(2) == 1) atomics::pause();
      if (claim(way)) return way;
    }
    delivered_.wait();
    return word_.load(std::memory_order_relaxed);
  }

private:
  model::atomic<wait_outcome> word_{wait_outcome::open};
  model::event delivered_;
};

}  // namespace model
