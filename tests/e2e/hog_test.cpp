// One fiber that spins for a second on one of the workers does not delay the others: what waits on that worker's ring, in its
// queues and in its timers is served by its peers.
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "echo_fixture.hpp"

namespace aramid::e2e {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using milliseconds = std::chrono::duration<double, std::milli>;

constexpr std::size_t crowd_size = 32;

class round_trips {
public:
  void add(milliseconds one) { all_.push_back(one.count()); }
  [[nodiscard]] std::size_t size() const { return all_.size(); }
  [[nodiscard]] double quantile(double q) {
    std::sort(all_.begin(), all_.end());
    return all_.empty() ? 0 : all_[static_cast<std::size_t>(q * static_cast<double>(all_.size() - 1))];
  }
  [[nodiscard]] double median() { return quantile(0.5); }
  [[nodiscard]] double worst() { return quantile(1); }
  void print(const char* name) {
    std::printf("  %-44s n %5zu   p50 %8.3f   p99 %8.3f   max %8.3f ms\n", name, size(), median(), quantile(0.99),
                worst());
  }

private:
  std::vector<double> all_;
};

std::string line_of(peer& from) {
  std::string line;
  for (char byte = 0; byte != '\n';) {
    byte = from.receive(1).front();
    line += byte;
  }
  line.pop_back();
  return line;
}

/// The server with a crowd of connections, and where each of them was served last.
class hog_under_test {
public:
  explicit hog_under_test(const setting& on)
      : server({ARAMID_HOG_SERVER, std::to_string(on.workers)}, on.process()), hog(server.port()) {
    for (std::size_t i = 0; i != crowd_size; ++i) {
      crowd_.emplace_back(server.port());
    }
    threads_.resize(crowd_size);
  }

  /// Has all of the crowd served at once, and notes how long each takes, and on which thread it was served.
  void ask_all(round_trips& times, char request = '*') {
    const auto start = steady_clock::now();
    for (peer& each : crowd_) {
      each.send({&request, 1});
    }
    std::vector<pollfd> waiting;
    for (peer& each : crowd_) {
      waiting.push_back({each.fd(), POLLIN, 0});
    }
    for (std::size_t answered = 0; answered != crowd_size;) {
      if (::poll(waiting.data(), waiting.size(), static_cast<int>(std::chrono::milliseconds(patience).count())) <= 0) {
        throw std::runtime_error("no answer");
      }
      const milliseconds taken = steady_clock::now() - start;
      for (std::size_t i = 0; i != crowd_size; ++i) {
        if (waiting[i].revents != 0) {
          threads_[i] = line_of(crowd_[i]);
          latest_[i] = taken;
          times.add(taken);
          waiting[i].fd = -1;
          waiting[i].revents = 0;
          ++answered;
        }
      }
    }
  }

  /// Has the connections wait on the rings of both workers, or with more than two on those of several.
  bool spread() {
    round_trips ignored;
    return eventually([&] {
      ask_all(ignored);
      const auto on_first = std::count(threads_.begin(), threads_.end(), threads_.front());
      return on_first >= 4 && on_first <= static_cast<std::ptrdiff_t>(crowd_size) - 4;
    });
  }

  [[nodiscard]] const std::vector<std::string>& threads() const { return threads_; }
  [[nodiscard]] milliseconds latest(std::size_t who) const { return latest_[who]; }

  std::uint64_t figure(const std::string& name) {
    hog.send("?");
    std::istringstream line(line_of(hog));
    for (std::string key, value; line >> key >> value;) {
      if (key == name) {
        return std::stoull(value);
      }
    }
    throw std::runtime_error("stats() says nothing of " + name);
  }
  std::string driver() {
    hog.send("?");
    const std::string line = line_of(hog);
    return line.substr(line.rfind(' ') + 1);
  }

  void expect_clean_exit() {
    server.signal(SIGINT);
    EXPECT_EQ(server.wait_exit(), 0) << server.errors();
    EXPECT_EQ(server.errors(), "");
  }

  server_process server;
  peer hog;

private:
  std::vector<peer> crowd_;
  std::vector<std::string> threads_;
  std::array<milliseconds, crowd_size> latest_{};
};

struct measured {
  round_trips of_the_stuck;  // the first ones of connections that waited on the stuck worker's ring
  round_trips all;
  round_trips of_new_connections;
};

/// A second of spinning, and what the others see of it.
void spin_once(hog_under_test& it, measured& result) {
  ASSERT_TRUE(it.spread());
  const std::vector<std::string> before = it.threads();
  it.hog.send("S");
  ASSERT_EQ(line_of(it.hog), "spinning");
  std::vector<milliseconds> first;
  while (!it.hog.is_readable(2ms)) {
    it.ask_all(result.all);
    if (first.empty()) {
      for (std::size_t i = 0; i != crowd_size; ++i) {
        first.push_back(it.latest(i));
      }
    }
    const auto start = steady_clock::now();
    peer fresh(it.server.port());
    fresh.send("*");
    (void)line_of(fresh);
    result.of_new_connections.add(steady_clock::now() - start);
  }
  const std::string stuck = line_of(it.hog);
  for (std::size_t i = 0; i != first.size(); ++i) {
    if (before[i] == stuck) {
      result.of_the_stuck.add(first[i]);
    }
  }
}

/// The same crowd, without a hog in the server but with one on the machine: what the machine itself costs.
round_trips beside_another_program(hog_under_test& it) {
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done) {
    }
  });
  round_trips result;
  for (const auto end = steady_clock::now() + 1s; steady_clock::now() < end; std::this_thread::sleep_for(2ms)) {
    it.ask_all(result);
  }
  done = true;
  other.join();
  return result;
}

class hog : public on_each_driver {};

TEST_P(hog, delays_nobody_for_more_than_a_few_milliseconds) {
  hog_under_test it(GetParam());
  round_trips control = beside_another_program(it);
  measured result;
  for (int i = 0; i != 3; ++i) {
    spin_once(it, result);
  }
  std::printf("round trips, %u workers:\n", GetParam().workers);
  control.print("beside another program that spins");
  result.of_the_stuck.print("first of those on the stuck worker's ring");
  result.all.print("all during the spin");
  result.of_new_connections.print("new connections during the spin");
  std::printf("  steals %llu, helps %llu, migrations %llu\n",
              static_cast<unsigned long long>(it.figure("steals")),
              static_cast<unsigned long long>(it.figure("helps")),
              static_cast<unsigned long long>(it.figure("migrations")));

  // Without help it is a second. A machine that is busy with other things may take its time, but no more than it takes from
  // the control.
  const double worst = 100 + control.worst();
  const double median = 10 + control.median();
  if (GetParam().workers == 2) {
    EXPECT_GE(result.of_the_stuck.size(), 8U);
  }
  EXPECT_LT(result.of_the_stuck.median(), median);
  EXPECT_LT(result.of_the_stuck.worst(), worst);
  EXPECT_LT(result.all.median(), median);
  EXPECT_LT(result.all.worst(), worst);
  EXPECT_LT(result.of_new_connections.worst(), worst);

  EXPECT_EQ(it.driver(), GetParam().driver);
  EXPECT_EQ(it.figure("workers"), GetParam().workers);
  EXPECT_GT(it.figure("steals"), 0U);
  EXPECT_GT(it.figure("helps"), 0U);
  EXPECT_GT(it.figure("migrations"), 0U);
  EXPECT_GT(it.figure("submissions"), 0U);
  it.expect_clean_exit();
}

TEST_P(hog, delays_no_timer) {
  hog_under_test it(GetParam());
  round_trips control;
  it.ask_all(control, 'T');
  round_trips times;
  for (int i = 0; i != 3; ++i) {
    ASSERT_TRUE(it.spread());
    it.hog.send("S");
    ASSERT_EQ(line_of(it.hog), "spinning");
    it.ask_all(times, 'T');
    (void)line_of(it.hog);
  }
  std::printf("sleeps of 20 ms, %u workers:\n", GetParam().workers);
  control.print("without a spin");
  times.print("during a spin");
  EXPECT_GE(control.quantile(0), 20);
  EXPECT_GE(times.quantile(0), 20);
  EXPECT_LT(times.worst(), 100 + control.worst());
  it.expect_clean_exit();
}

TEST_P(hog, delays_no_timer_that_it_was_armed_beside) {
  // Armed on whichever workers, the hog's too, before it spins.
  hog_under_test it(GetParam());
  std::vector<peer> sleepers;
  for (std::size_t i = 0; i != crowd_size; ++i) {
    sleepers.emplace_back(it.server.port());
  }
  round_trips times;
  for (int i = 0; i != 3; ++i) {
    ASSERT_TRUE(it.spread());
    const auto start = steady_clock::now();
    for (peer& each : sleepers) {
      each.send("T");
    }
    it.hog.send("S");
    ASSERT_EQ(line_of(it.hog), "spinning");
    for (peer& each : sleepers) {
      (void)line_of(each);
      times.add(steady_clock::now() - start);
    }
    EXPECT_FALSE(it.hog.is_readable()) << "the sleepers have waited for the hog";
    (void)line_of(it.hog);
  }
  times.print("sleeps of 20 ms, armed before a spin");
  EXPECT_GE(times.quantile(0), 20);
  it.expect_clean_exit();
}

INSTANTIATE_TEST_SUITE_P(E2e, hog,
                         ::testing::Values(setting{"io_uring", 2}, setting{"io_uring", 8}, setting{"epoll", 2}, setting{"epoll", 8}),
                         setting_name);

TEST(hog_control, one_worker_has_nobody_to_help_it) {
  hog_under_test it({"io_uring", 1});
  it.hog.send("S");
  ASSERT_EQ(line_of(it.hog), "spinning");
  round_trips times;
  it.ask_all(times);
  times.print("one worker");
  EXPECT_GT(times.worst(), 200) << "this test does not see a hog";
  (void)line_of(it.hog);
  EXPECT_EQ(it.figure("migrations"), 0U);
  it.expect_clean_exit();
}

}  // namespace
}  // namespace aramid::e2e
