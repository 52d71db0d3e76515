// What every test of the runtime stands on: nothing may be left when it ends.
#pragma once

#include <dirent.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

#include "tests/runtime/warm_thread.hpp"

namespace aramid::test {

/// Gives way, on a fiber or a thread, until `condition()` holds. The bound is for broken code only: it turns a hang into a
/// failed assertion.
/// Returns: whether the condition came to hold.
template <class Condition>
[[nodiscard]] bool eventually(Condition condition) {
  const auto patience = clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (clock::now() > patience) {
      return false;
    }
    this_fiber::yield();
  }
  return true;
}

/// What a process has open.
struct process_census {
  std::size_t threads = 0;
  std::size_t descriptors = 0;

  friend bool operator==(const process_census&, const process_census&) = default;

  [[nodiscard]] static process_census take() {
    return {entries_of("/proc/self/task"), entries_of("/proc/self/fd")};
  }

private:
  static std::size_t entries_of(const char* directory) {
    const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(directory), &::closedir);
    std::size_t count = 0;
    while (open != nullptr && ::readdir(open.get()) != nullptr) {
      ++count;
    }
    return count;
  }
};

/// Fails the test that leaves a thread or a descriptor behind.
class leaves_nothing : public ::testing::Test {
protected:
  void TearDown() override {
    // A thread that has been joined stays listed until the kernel has reaped it.
    EXPECT_TRUE(eventually([this] { return process_census::take() == before_; }))
        << before_.threads << " threads and " << before_.descriptors << " descriptors before, "
        << process_census::take().threads << " and " << process_census::take().descriptors << " after";
  }

private:
  static process_census take_warm() {
    static const bool warm = [] {
      warm_up_threads();
      return true;
    }();
    (void)warm;
    return process_census::take();
  }

  const process_census before_ = take_warm();
};

/// A test whose parameter is the number of workers.
class runtime_test : public leaves_nothing, public ::testing::WithParamInterface<unsigned> {
protected:
  [[nodiscard]] static unsigned workers() { return GetParam(); }

  /// As aramid::run, and asserts that `fn` has left no fiber behind.
  template <class Fn>
  static std::invoke_result_t<Fn> run(Fn&& fn) {
    runtime rt(options{.workers = GetParam()});
    const no_fiber_left check{rt};
    auto root = rt.spawn(fiber_options{.name = "root"}, std::forward<Fn>(fn));
    return root.join();
  }

  struct no_fiber_left {
    runtime& rt;
    ~no_fiber_left() {
      // A fiber is counted out a moment after its joiner has been told.
      EXPECT_TRUE(eventually([this] { return rt.stats().fibers == 0; })) << rt.stats().fibers << " fibers are left";
    }
  };
};

inline const auto worker_counts = ::testing::Values(1U, 2U, 8U);

/// While it lives, the library's log comes here.
class captured_log {
public:
  captured_log() {
    set_log_handler([this](std::string_view line) {
      const std::lock_guard lock(lock_);
      lines_.emplace_back(line);
    });
  }
  ~captured_log() { set_log_handler({}); }

  captured_log(const captured_log&) = delete;
  captured_log& operator=(const captured_log&) = delete;

  [[nodiscard]] std::vector<std::string> lines() const {
    const std::lock_guard lock(lock_);
    return lines_;
  }

  /// How many lines contain `text`.
  [[nodiscard]] std::size_t count(std::string_view text) const {
    std::size_t found = 0;
    for (const std::string& line : lines()) {
      found += line.find(text) != std::string::npos ? 1 : 0;
    }
    return found;
  }

private:
  mutable std::mutex lock_;
  std::vector<std::string> lines_;
};

/// Counts its living instances.
class counted {
public:
  counted() noexcept { ++alive_; }
  counted(const counted&) noexcept { ++alive_; }
  counted& operator=(const counted&) = default;
  ~counted() { --alive_; }

  [[nodiscard]] static int alive() noexcept { return alive_; }

private:
  static inline std::atomic<int> alive_{0};
};

/// Suspends until cancelled.
inline void sleep_until_cancelled() {
  this_fiber::sleep_for(std::chrono::hours(24));
  ADD_FAILURE() << "slept for a day";
}

}  // namespace aramid::test
