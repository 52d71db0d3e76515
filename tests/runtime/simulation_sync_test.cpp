// The synchronisation primitives, `select`, pools, stop tokens and bindings, under thousands of seeds, stepped on one thread: random uses of all of them, with deadlines and
// cancellations, counted. A lost wake leaves the simulation stuck; a lost or doubled permit, share or arrival breaks a count.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <random>
#include <shared_mutex>
#include <stop_token>
#include <utility>
#include <vector>

#include <aramid/barrier.hpp>
#include <aramid/cancel.hpp>
#include <aramid/channel.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/fiber_local.hpp>
#include <aramid/fiber_pool.hpp>
#include <aramid/latch.hpp>
#include <aramid/mutex.hpp>
#include <aramid/promise.hpp>
#include <aramid/run.hpp>
#include <aramid/select.hpp>
#include <aramid/semaphore.hpp>
#include <aramid/shared_mutex.hpp>

#include "runtime_fixture.hpp"
#include "seeds.hpp"
#include "simulation.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

using simulation_sync_test = leaves_nothing;

/// Counts itself in and out, however it is left.
class presence {
public:
  explicit presence(int& count) : count_(count) { ++count_; }
  ~presence() { --count_; }
  presence(const presence&) = delete;
  presence& operator=(const presence&) = delete;

private:
  int& count_;
};

class crossing {
public:
  explicit crossing(std::uint64_t seed) : random_(seed), members_(2 + static_cast<int>(seed % 7)), step_(members_, count_phase{&phases_}) {}

  void root() {
    std::vector<fiber<>> members;
    for (int i = 0; i != members_; ++i) {
      members.push_back(aramid::spawn(fiber_options{.pinned = i % 4 == 3}, [this] { member(); }));
    }
    begun_.wait();
    auto tide = aramid::spawn([this] {
      while (left_ != members_) {
        come_.set();
        this_fiber::sleep_for(some_time());
        come_.clear();
        this_fiber::sleep_for(some_time());
      }
    });
    while (left_ != members_) {
      this_fiber::sleep_for(some_time());
      if (random_() % 4 == 0) {
        members[random_() % members.size()].cancel();
      }
    }
    for (fiber<>& each : members) {
      try {
        each.join();
      } catch (const fiber_cancelled&) {
      }
    }
    tide.join();
  }

  void check() {
    EXPECT_EQ(holders_ + readers_ + writers_ + owners_, 0);
    for (int i = 0; i != 3; ++i) {
      EXPECT_TRUE(permits_.try_acquire());
    }
    EXPECT_FALSE(permits_.try_acquire());
    EXPECT_TRUE(shared_.try_lock());
    EXPECT_TRUE(own_.try_lock());
    EXPECT_EQ(phases_, most_arrivals_);
    for (channel<int>& each : channels_) {
      while (const auto item = each.try_receive()) {
        received_ += *item;
      }
    }
    EXPECT_EQ(received_, sent_);
    shared_.unlock();
    own_.unlock();
  }

private:
  struct count_phase {
    int* phases;
    void operator()() const noexcept { ++*phases; }
  };

  std::chrono::nanoseconds some_time() { return std::chrono::nanoseconds(1 + random_() % 20'000); }

  void linger() {
    if (random_() % 2 == 0) {
      this_fiber::sleep_for(some_time());
    } else {
      this_fiber::yield();
    }
  }

  void member() {
    begun_.count_down();
    int arrivals = 0;
    struct departure {
      crossing& all;
      int& arrivals;
      ~departure() {
        all.most_arrivals_ = std::max(all.most_arrivals_, arrivals + 1);
        all.step_.arrive_and_drop();
        ++all.left_;
      }
    } const guard{*this, arrivals};
    for (int i = 0; i != 12; ++i) {
      act();
      if (i % 4 == 3) {
        step_.arrive_and_wait();
        ++arrivals;
        EXPECT_EQ(phases_, arrivals);
      }
    }
  }

  void act() {
    switch (random_() % 15) {
      case 0: {
        permits_.acquire();
        hold(1);
        break;
      }
      case 1:
        if (permits_.try_acquire_for(some_time())) {
          hold(1 + (permits_.try_acquire() ? 1 : 0));
        }
        break;
      case 2: {
        const std::lock_guard alone(shared_);
        write();
        break;
      }
      case 3: {
        const std::shared_lock together(shared_);
        read();
        break;
      }
      case 4:
        if (const std::unique_lock alone(shared_, some_time()); alone) {
          write();
        }
        break;
      case 5:
        if (const std::shared_lock together(shared_, some_time()); together) {
          read();
        }
        break;
      case 6:
        if (random_() % 2 == 0) {
          come_.wait();
        } else {
          (void)come_.wait_for(some_time());
        }
        break;
      case 7: {
        promise<std::uint64_t> answer;
        const std::uint64_t expected = random_();
        auto asked = answer.get_future();
        auto answering = aramid::spawn([this, expected, answer = std::move(answer)]() mutable {
          linger();
          answer.set_value(expected);
        });
        if (random_() % 4 == 0) {
          answering.cancel();
        }
        try {
          EXPECT_EQ(asked.get(), expected);
        } catch (const future_error&) {  // it was cancelled
        }
        break;
      }
      case 8:
      case 9: {
        channel<int>& in = channels_[random_() % 2];
        channel<int>& out = channels_[random_() % 2];  // it may be the same one
        const int item = static_cast<int>(random_() % 1000);
        auto helper = aramid::spawn([this] { linger(); });
        select(on_receive(in, [this](std::optional<int> got) { received_ += got.value(); }),
               on_send(out, item, [this, item] { sent_ += item; }), on_set(come_), on_join(helper), after(some_time()));
        break;
      }
      case 11: {
        fiber_pool pool(1 + random_() % 3);
        const std::vector<int> inputs{1, 2, 3, 4};
        int sum = 0;
        for (const int each : pool.map_unordered(inputs, [this](int n) {
               linger();
               return n;
             })) {
          sum += each;
        }
        EXPECT_EQ(sum, 10);
        break;
      }
      case 12: {
        std::stop_source stop;
        auto asks = aramid::spawn([this, stop]() mutable {
          linger();
          stop.request_stop();
        });
        channel<int>& one = channels_[random_() % 2];
        if (random_() % 2 == 0) {
          sent_ += one.send(7, stop.get_token()) == channel_status::ok ? 7 : 0;
        } else {
          received_ += one.receive(stop.get_token()).value_or(0);
        }
        break;
      }
      case 13: {
        auto one = aramid::spawn([this] { linger(); });
        auto other = aramid::spawn([this] {
          linger();
          linger();
        });
        const std::size_t first = wait_any(one, other);
        EXPECT_TRUE(first == 0 ? one.done() : other.done());
        wait_all(one, other);
        break;
      }
      case 14: {
        const std::uint64_t mine = random_();
        const context_var<std::uint64_t>::binding bound(bound_, mine);
        auto child = aramid::spawn([this, mine] {
          linger();
          EXPECT_EQ(bound_.get(), mine);
        });
        linger();
        EXPECT_EQ(bound_.get(), mine);
        child.wait();
        break;
      }
      default: {
        const std::lock_guard outer(own_);
        EXPECT_EQ(owners_, 0);
        const presence here(owners_);
        linger();
        const std::lock_guard inner(own_);
        break;
      }
    }
  }

  void hold(int permits) {
    struct giving_back {
      counting_semaphore<>& to;
      int count;
      ~giving_back() { to.release(count); }
    } const guard{permits_, permits};
    const presence here(holders_);
    EXPECT_LE(holders_, 3);
    linger();
  }

  void write() {
    const presence here(writers_);
    EXPECT_EQ(writers_, 1);
    EXPECT_EQ(readers_, 0);
    linger();
  }

  void read() {
    const presence here(readers_);
    EXPECT_EQ(writers_, 0);
    linger();
  }

  std::mt19937_64 random_;
  const int members_;
  counting_semaphore<> permits_{3};
  shared_mutex shared_;
  recursive_mutex own_;
  event come_;
  latch begun_{members_};
  int phases_ = 0;
  barrier<count_phase> step_;
  int most_arrivals_ = 0;
  context_var<std::uint64_t> bound_{0};
  std::array<channel<int>, 2> channels_{channel<int>(0), channel<int>(1)};
  long sent_ = 0;
  long received_ = 0;
  int left_ = 0;
  int holders_ = 0, readers_ = 0, writers_ = 0, owners_ = 0;
};

TEST_F(simulation_sync_test, nothing_is_lost_or_doubled_under_any_seed) {
  for_each_seed(3000, [](std::uint64_t seed) {
    simulation in(seed, workers_for(seed));
    crossing all(seed);
    auto root = in.spawn([&] { all.root(); });
    in.run();
    root.join();
    all.check();
  });
}

}  // namespace
}  // namespace aramid::test
