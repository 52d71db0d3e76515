// What the kernel says of a thread's time.
#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <optional>
#include <thread>
#include <utility>

#include "runtime/src/run_delay.hpp"
#include "runtime_fixture.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;
using detail::cpu_times;
using detail::run_delay;

class run_delay_test : public leaves_nothing {};

TEST_F(run_delay_test, grows_as_the_thread_runs) {
  run_delay of;
  of.open(::gettid());
  const std::optional<cpu_times> before = of.read();
  if (!before.has_value()) {
    GTEST_SKIP() << "this kernel keeps no schedstat";
  }
  EXPECT_TRUE(eventually([&] { return (*of.read() - *before).ran > 1ms; }));
}

TEST_F(run_delay_test, says_nothing_of_a_thread_that_is_not_there) {
  run_delay of;
  EXPECT_FALSE(of.read().has_value());
  of.open(-1);
  EXPECT_FALSE(of.read().has_value());
}

TEST_F(run_delay_test, says_nothing_of_a_thread_that_has_ended) {
  run_delay of;
  std::promise<pid_t> id;
  std::promise<void> opened;
  std::thread ended([&] {
    id.set_value(::gettid());
    opened.get_future().wait();
  });
  of.open(id.get_future().get());
  EXPECT_TRUE(of.read().has_value());
  opened.set_value();
  ended.join();
  EXPECT_TRUE(eventually([&] { return !of.read().has_value(); }));  // the kernel may still be reaping it
}

TEST_F(run_delay_test, gives_its_descriptor_back) {
  run_delay of;
  of.open(::gettid());
  of.open(::gettid());
  run_delay moved = std::move(of);
  moved.close();
  EXPECT_FALSE(moved.read().has_value());
}

}  // namespace
}  // namespace aramid::test
