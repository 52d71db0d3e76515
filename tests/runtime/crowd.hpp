// Fibers and plain threads that do the same things to the same primitive.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <ostream>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

#include "runtime_fixture.hpp"

namespace aramid::test {

/// Who the members of a crowd are.
enum class who { fibers, threads, both };

inline std::ostream& operator<<(std::ostream& out, who which) {
  return out << (which == who::fibers ? "fibers" : which == who::threads ? "threads" : "both");
}

inline constexpr who everybody[] = {who::fibers, who::threads, who::both};

/// Made and joined by the test's own thread, which is no fiber: so it may block.
class crowd {
public:
  crowd(unsigned workers, who which) : runtime_(options{.workers = workers}), which_(which) {}
  explicit crowd(unsigned workers) : crowd(workers, who::fibers) {}

  crowd(const crowd&) = delete;
  crowd& operator=(const crowd&) = delete;

  ~crowd() {
    for (std::thread& each : threads_) {
      each.join();
    }
    fibers_.clear();
    EXPECT_TRUE(eventually([this] { return runtime_.stats().fibers == 0; }));
  }

  /// A fiber, a thread, or each in turn.
  template <class Fn>
  void start(Fn fn) {
    if (which_ == who::fibers || (which_ == who::both && started_++ % 2 == 0)) {
      start_fiber(std::move(fn));
    } else {
      start_thread(std::move(fn));
    }
  }

  template <class Fn>
  fiber<>& start_fiber(Fn fn) {
    return fibers_.emplace_back(runtime_.spawn(std::move(fn)));
  }

  template <class Fn>
  void start_thread(Fn fn) {
    threads_.emplace_back([this, fn = std::move(fn)]() mutable {
      try {
        fn();
      } catch (...) {
        const std::lock_guard guard(failure_lock_);
        failure_ = std::current_exception();
      }
    });
  }

  [[nodiscard]] std::deque<fiber<>>& fibers() { return fibers_; }
  [[nodiscard]] aramid::runtime& runtime() { return runtime_; }

  /// Waits for all and forgets them. A fiber that was cancelled is none the worse; any other failure is rethrown.
  /// Returns: how many had been cancelled.
  int join() {
    // The threads first: one of them may be cancelling the fibers, through these same handles.
    for (std::thread& each : threads_) {
      each.join();
    }
    threads_.clear();
    int cancelled = 0;
    for (fiber<>& each : fibers_) {
      if (!each.joinable()) {
        continue;
      }
      try {
        each.join();
      } catch (const fiber_cancelled&) {
        ++cancelled;
      }
    }
    fibers_.clear();
    if (failure_) {
      std::rethrow_exception(std::exchange(failure_, nullptr));
    }
    return cancelled;
  }

private:
  aramid::runtime runtime_;
  const who which_;
  std::size_t started_ = 0;
  std::deque<fiber<>> fibers_;
  std::vector<std::thread> threads_;
  std::mutex failure_lock_;
  std::exception_ptr failure_;
};

/// `eventually`, for where there is nothing to go on with if it does not.
template <class Condition>
void yield_until(Condition condition) {
  if (!eventually(std::move(condition))) {
    throw std::runtime_error("what the test waits for does not happen");
  }
}

}  // namespace aramid::test
