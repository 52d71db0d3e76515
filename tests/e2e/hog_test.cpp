// One fiber that spins on one of the workers does not hold up the others: what waits on that worker's ring, in its queues and in its
// timers is served by its peers. The spin lasts until somebody who has been served meanwhile ends it; by itself it
// ends after ten seconds of CPU time, which is too late for these tests.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "echo_fixture.hpp"

namespace aramid::e2e {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr std::size_t crowd_size = 32;

std::string line_of(peer& from) {
  std::string line;
  for (char byte = 0; byte != '\n';) {
    byte = from.receive(1).front();
    line += byte;
  }
  line.pop_back();
  return line;
}

/// The server with a crowd of connections, one of which may have it spin, and which thread served each of them last.
class hog_under_test {
public:
  explicit hog_under_test(const setting& on) : server({ARAMID_HOG_SERVER, std::to_string(on.workers)}, on.process()) {
    for (std::size_t i = 0; i != crowd_size; ++i) {
      crowd.emplace_back(server.port());
    }
    threads.resize(crowd_size);
  }

  /// Has all of them served at once, but for the hog.
  void ask_all(char request = '*') {
    for (std::size_t i = 0; i != crowd_size; ++i) {
      if (i != hog) {
        crowd[i].send({&request, 1});
      }
    }
    for (std::size_t i = 0; i != crowd_size; ++i) {
      threads[i] = i != hog ? line_of(crowd[i]) : "";
    }
  }

  void begin_spin(std::size_t who, char request = 'S') {
    hog = who;
    crowd[hog].send({&request, 1});
    if (line_of(crowd[hog]) != "spinning") {
      throw std::runtime_error("it does not spin");
    }
  }
  /// Returns: the thread that span until now.
  std::string end_spin() {
    peer& another = crowd[(hog + 1) % crowd_size];
    EXPECT_FALSE(crowd[hog].is_readable()) << "it was over before all had been served";
    another.send("E");
    (void)line_of(another);
    return line_of(crowd[std::exchange(hog, nobody)]);
  }

  std::uint64_t figure(const std::string& name) {
    crowd.front().send("?");
    std::istringstream line(line_of(crowd.front()));
    for (std::string key, value; line >> key >> value;) {
      if (key == name) {
        return std::stoull(value);
      }
    }
    throw std::runtime_error("stats() says nothing of " + name);
  }
  std::string driver() {
    crowd.front().send("?");
    const std::string line = line_of(crowd.front());
    return line.substr(line.rfind(' ') + 1);
  }

  void expect_clean_exit() {
    server.signal(SIGINT);
    EXPECT_EQ(server.wait_exit(), 0) << server.errors();
    EXPECT_EQ(server.errors(), "");
  }

  static constexpr std::size_t nobody = crowd_size;
  server_process server;
  std::vector<peer> crowd;
  std::vector<std::string> threads;
  std::size_t hog = nobody;
};

class hog : public on_each_driver {};

TEST_P(hog, keeps_nobody_from_being_served) {
  hog_under_test it(GetParam());
  // While one spins the others are served elsewhere and wait there: the next to spin is one of them, and where it spins they wait.
  std::ptrdiff_t were_on_its_ring = 0;
  std::size_t who = 0;
  EXPECT_TRUE(eventually([&] {
    const std::vector<std::string> before = it.threads;
    it.begin_spin(who++ % crowd_size);
    std::vector<std::string> served_by;
    for (int i = 0; i != 20; ++i) {
      it.ask_all();
      served_by.insert(served_by.end(), it.threads.begin(), it.threads.end());
      peer fresh(it.server.port());
      fresh.send("*");
      served_by.push_back(line_of(fresh));
    }
    const std::string stuck = it.end_spin();
    EXPECT_EQ(std::count(served_by.begin(), served_by.end(), stuck), 0);
    were_on_its_ring += std::count(before.begin(), before.end(), stuck);
    return were_on_its_ring >= 8 && it.figure("steals") != 0 && it.figure("helps") != 0 && it.figure("migrations") != 0;
  }));

  EXPECT_EQ(it.driver(), GetParam().driver);
  EXPECT_EQ(it.figure("workers"), GetParam().workers);
  EXPECT_GT(it.figure("submissions"), 0U);
  it.expect_clean_exit();
}

TEST_P(hog, delays_no_timer) {
  hog_under_test it(GetParam());
  for (std::size_t i = 0; i != 6; ++i) {
    it.begin_spin(i);
    const auto start = steady_clock::now();
    it.ask_all('T');
    EXPECT_GE(steady_clock::now() - start, 20ms);
    (void)it.end_spin();
  }
  it.expect_clean_exit();
}

TEST_P(hog, delays_no_timer_that_was_armed_beside_it) {
  hog_under_test it(GetParam());
  std::vector<peer> sleepers;
  for (std::size_t i = 0; i != crowd_size; ++i) {
    sleepers.emplace_back(it.server.port());
  }
  std::size_t who = 0;
  EXPECT_TRUE(eventually([&] {
    for (peer& each : sleepers) {
      each.send("T");
    }
    it.ask_all();
    it.begin_spin(who++ % crowd_size);
    std::vector<std::string> armed_on;
    for (peer& each : sleepers) {
      armed_on.push_back(line_of(each));
    }
    return std::count(armed_on.begin(), armed_on.end(), it.end_spin()) >= 4;
  }));
  it.expect_clean_exit();
}

INSTANTIATE_TEST_SUITE_P(E2e, hog,
                         ::testing::Values(setting{"io_uring", 2}, setting{"io_uring", 8}, setting{"epoll", 2}, setting{"epoll", 8}),
                         setting_name);

TEST(hog_control, one_worker_has_nobody_to_help_it) {
  hog_under_test it({"io_uring", 1});
  it.begin_spin(0, 's');
  it.crowd.back().send("*");
  (void)line_of(it.crowd.back());
  EXPECT_TRUE(it.crowd.front().is_readable()) << "these tests do not see a hog";
  (void)line_of(it.crowd.front());
  EXPECT_EQ(it.figure("migrations"), 0U);
  it.expect_clean_exit();
}

}  // namespace
}  // namespace aramid::e2e
