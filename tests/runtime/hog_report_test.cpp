// A fiber that keeps its thread to itself is named, once, with the function that it is in; one that gives way is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

#include "runtime_fixture.hpp"

namespace aramid::test {

// Exported, so that it has a name.
extern "C" __attribute__((noinline, visibility("default"))) void aramid_test_hog(
    const std::atomic<bool>& enough) {
  while (!enough.load(std::memory_order_relaxed)) {
  }
}

namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// What has been logged while it lives.
class captured_log {
public:
  captured_log() {
    set_log_handler([this](std::string_view line) {
      const std::lock_guard guard(lock_);
      lines_.emplace_back(line);
      ++count_;
    });
  }
  ~captured_log() { set_log_handler(nullptr); }
  captured_log(const captured_log&) = delete;
  captured_log& operator=(const captured_log&) = delete;

  std::vector<std::string> lines() {
    const std::lock_guard guard(lock_);
    return lines_;
  }
  [[nodiscard]] std::size_t count() const { return count_; }

private:
  std::mutex lock_;
  std::vector<std::string> lines_;  // under the lock
  std::atomic<std::size_t> count_{0};
};

class hog_report_test : public leaves_nothing, public ::testing::WithParamInterface<unsigned> {
protected:
  [[nodiscard]] options opts(std::chrono::milliseconds after) const {
    return {.workers = GetParam(), .report_hogs_after = after};
  }
};
INSTANTIATE_TEST_SUITE_P(workers, hog_report_test, ::testing::Values(1U, 2U, 8U));

TEST_P(hog_report_test, names_the_fiber_and_the_function_once) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP()
      << "ThreadSanitizer keeps signals back until the thread makes a call that it intercepts";
#endif
  captured_log log;
  runtime rt(opts(10ms));
  for (std::size_t times = 1; times != 3; ++times) {
    std::atomic<bool> enough{false};
    auto hog = rt.spawn(fiber_options{.name = "glutton"}, [&] { aramid_test_hog(enough); });
    EXPECT_TRUE(eventually([&] { return log.count() == times; }));
    std::this_thread::sleep_for(30ms);  // long enough for another, if there were one
    enough = true;
    hog.join();
  }
  const std::vector<std::string> lines = log.lines();
  ASSERT_EQ(lines.size(), 2U) << "one report for each time that a worker stands still";
  for (const std::string& line : lines) {
    EXPECT_THAT(line, AllOf(HasSubstr("glutton"), HasSubstr("has kept worker"),
                            HasSubstr("aramid_test_hog")));
  }
}

TEST_P(hog_report_test, who_gives_way_is_not_reported) {
  captured_log log;
  aramid::run(
      [&] {
        const auto until = clock::now() + 600ms;
        auto busy = spawn([&] {
          while (clock::now() < until) {
            this_fiber::yield();
          }
        });
        auto sleeping = spawn([&] { this_fiber::sleep_until(until); });
        busy.join();
        sleeping.join();
      },
      opts(500ms));
  EXPECT_THAT(log.lines(), ::testing::IsEmpty());
}

TEST_P(hog_report_test, off_by_default) {
  captured_log log;
  aramid::run(
      [&] {
        std::atomic<bool> enough{false};
        std::thread watch([&] {
          std::this_thread::sleep_for(50ms);
          enough = true;
        });
        aramid_test_hog(enough);
        watch.join();
      },
      options{.workers = GetParam()});
  EXPECT_THAT(log.lines(), ::testing::IsEmpty());
}

TEST_P(hog_report_test, a_negative_time_is_refused) {
  EXPECT_THROW(runtime(opts(-1ms)), std::invalid_argument);
}

}  // namespace
}  // namespace aramid::test
