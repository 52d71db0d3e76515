// A fixture that fails a test which leaves a descriptor, a ring or a thread behind, and one that
// runs it on each driver with 1, 2 and 8 workers.
#pragma once

#include <dirent.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <ostream>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include <aramid/run.hpp>

#include "tests/runtime/warm_thread.hpp"

namespace aramid::test {

struct process_state {
  int descriptors = 0;
  int rings = 0;
  int threads = 0;
  std::string listing;

  friend bool operator==(const process_state& a, const process_state& b) {
    return a.descriptors == b.descriptors && a.rings == b.rings && a.threads == b.threads;
  }
};

inline int count_entries(const char* directory, auto&& visit) {
  int count = 0;
  DIR* const entries = ::opendir(directory);
  while (const dirent* entry = ::readdir(entries)) {
    if (entry->d_name[0] != '.') {
      ++count;
      // Not `+`, in which gcc 12 sees an overflow that is none (array-bounds).
      visit(std::string(directory).append("/").append(entry->d_name));
    }
  }
  ::closedir(entries);
  return count;
}

inline process_state look_at_process() {
  process_state state;
  state.descriptors = count_entries("/proc/self/fd", [&](const std::string& path) {
    std::array<char, 256> target{};
    if (::readlink(path.c_str(), target.data(), target.size() - 1) > 0) {
      state.rings += std::string(target.data()) == "anon_inode:[io_uring]" ? 1 : 0;
      state.listing += path + " -> " + target.data() + "\n";
    }
  });
  state.threads = count_entries("/proc/self/task", [](const std::string&) {});
  return state;
}

class leak_check : public ::testing::Test {
protected:
  void SetUp() override {
    warm_up_threads();
    before_ = look_at_process();
  }

  void TearDown() override {
    process_state after = look_at_process();
    for (int i = 0; i < 200 && !(after == before_); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      after = look_at_process();
    }
    EXPECT_EQ(before_.descriptors, after.descriptors) << after.listing;
    EXPECT_EQ(before_.rings, after.rings);
    EXPECT_EQ(before_.threads, after.threads);
  }

private:
  process_state before_;
};

/// What a test runs on.
struct setting {
  const char* driver;
  unsigned workers;

  [[nodiscard]] options opts() const { return {.workers = workers, .driver = driver}; }
};

inline void PrintTo(const setting& value, std::ostream* out) { *out << value.driver << ", " << value.workers << " workers"; }

class on_each_driver : public leak_check, public ::testing::WithParamInterface<setting> {
protected:
  /// aramid::run on the driver and as many workers as the parameter says.
  template <class Fn>
  static auto run(Fn&& fn) {
    return aramid::run(
        [&] {
          if constexpr (std::is_void_v<std::invoke_result_t<Fn&>>) {
            fn();
            expect_driver();
          } else {
            auto result = fn();
            expect_driver();
            return result;
          }
        },
        GetParam().opts());
  }

private:
  /// That nothing fell back in silence.
  static void expect_driver() {
    if (const statistics now = stats(); now.driver != "none") {
      EXPECT_EQ(now.driver, GetParam().driver);
    }
  }
};

inline std::string setting_name(const ::testing::TestParamInfo<setting>& info) {
  return std::string(info.param.driver) + "_" + std::to_string(info.param.workers) + "_workers";
}

#define ARAMID_ON_IO_URING(suite)                                                                                            \
  INSTANTIATE_TEST_SUITE_P(Io, suite,                                                                                        \
                           ::testing::Values(aramid::test::setting{"io_uring", 1}, aramid::test::setting{"io_uring", 2},     \
                                             aramid::test::setting{"io_uring", 8}),                                          \
                           aramid::test::setting_name)

#define ARAMID_ON_EACH_DRIVER(suite)                                                                                         \
  ARAMID_ON_IO_URING(suite);                                                                                                 \
  INSTANTIATE_TEST_SUITE_P(IoToo, suite,                                                                                     \
                           ::testing::Values(aramid::test::setting{"epoll", 1}, aramid::test::setting{"epoll", 2},           \
                                             aramid::test::setting{"epoll", 8}, aramid::test::setting{"fake", 1},            \
                                             aramid::test::setting{"fake", 2}, aramid::test::setting{"fake", 8}),            \
                           aramid::test::setting_name)

}  // namespace aramid::test
