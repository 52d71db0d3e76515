// The timing wheel against a sorted map, under a virtual clock: what fires, when, and what `next` says.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include <aramid/driver.hpp>
#include <aramid/park.hpp>

#include "runtime/src/timer_wheel.hpp"
#include "runtime/src/waiter.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;
using detail::timer_entry;
using detail::timer_wheel;
using detail::waiter;

/// An entry with a waiter of its own, whose wait it may win. The waiter is a thread's that never sleeps.
struct timer {
  explicit timer(time_point deadline) {
    entry.deadline = deadline;
    entry.token = {&who, who.word.begin(true)};
  }
  /// Whether it has fired.
  [[nodiscard]] bool fired() { return who.word.take_delivered(); }

  waiter who{waiter::kind::thread};
  timer_entry entry;
};

class model {
public:
  explicit model(std::uint64_t seed) : random_(seed), now_(std::chrono::nanoseconds(1'000'000 + random_() % 1'000'000'000)) {
    fire();
  }

  void step() {
    switch (random_() % 8) {
      case 0:
      case 1:
      case 2:
      case 3:
        arm(now_ + clock::duration(distance()));
        break;
      case 4:
        disarm_one();
        break;
      case 5:
        now_ += clock::duration(std::max<std::int64_t>(distance(), 0) % 5'000'000'000);
        fire();
        break;
      case 6:
        if (!armed_.empty()) {  // as a worker sleeps: exactly to the next deadline, or just short of it
          now_ = std::max(now_, wheel_.next() - clock::duration(random_() % 2));
          fire();
        }
        break;
      default:
        now_ += clock::duration(random_() % 3000);
        fire();
        break;
    }
    check_next();
  }

  void drain() {
    while (!armed_.empty() && !::testing::Test::HasFatalFailure()) {
      now_ = std::max(now_, wheel_.next());
      fire();
      check_next();
    }
    ASSERT_EQ(wheel_.next(), time_point::max());
    ASSERT_TRUE(wheel_.empty());
  }

private:
  /// Any magnitude from nanoseconds to years with the same likelihood; sometimes the past.
  std::int64_t distance() {
    const bool late = now_.time_since_epoch().count() > std::int64_t{1} << 61;  // so that time itself does not overflow
    const auto bits = random_() % (late ? 40 : 57);
    const auto magnitude = static_cast<std::int64_t>(random_() & ((std::uint64_t{1} << bits) - 1));
    return random_() % 16 == 0 ? -std::min<std::int64_t>(magnitude, 1'000'000) : magnitude;
  }

  void arm(time_point deadline) {
    // Some share a deadline.
    if (!armed_.empty() && random_() % 8 == 0) {
      deadline = armed_.begin()->first;
    }
    auto made = std::make_unique<timer>(deadline);
    wheel_.arm(made->entry);
    armed_.emplace(deadline, std::move(made));
  }

  void disarm_one() {
    if (!armed_.empty()) {
      auto which = armed_.begin();
      std::advance(which, static_cast<std::ptrdiff_t>(random_() % std::min<std::size_t>(armed_.size(), 20)));
      timer_wheel::disarm(which->second->entry);
      timer_wheel::disarm(which->second->entry);  // harmless
      ASSERT_FALSE(which->second->fired());
      armed_.erase(which);
    }
  }

  void fire() {
    ASSERT_TRUE(armed_.empty() || wheel_.due(now_) || armed_.begin()->first > now_);
    wake_batch batch;
    wheel_.fire(now_, batch);
    ASSERT_EQ(batch.size(), 0U);  // none of these is suspended
    while (!armed_.empty() && armed_.begin()->first <= now_) {
      ASSERT_TRUE(armed_.begin()->second->fired()) << "due " << armed_.begin()->first.time_since_epoch().count() << ", now "
                                                   << now_.time_since_epoch().count();
      ASSERT_EQ(armed_.begin()->second->who.word.reason(), wake_reason::timed_out);
      timer_wheel::disarm(armed_.begin()->second->entry);
      armed_.erase(armed_.begin());
    }
    // Nothing else has fired.
    int looks = 0;
    for (auto& [deadline, each] : armed_) {
      ASSERT_FALSE(each->fired()) << (deadline - now_).count() << " ns too early";
      if (++looks == 50) {
        break;
      }
    }
  }

  void check_next() {
    const time_point expected = armed_.empty() ? time_point::max() : armed_.begin()->first;
    ASSERT_EQ(wheel_.next(), expected);
    ASSERT_EQ(wheel_.empty(), armed_.empty());
  }

  std::mt19937_64 random_;
  time_point now_;
  timer_wheel wheel_;
  std::multimap<time_point, std::unique_ptr<timer>> armed_;
};

TEST(timer_wheel_test, agrees_with_a_sorted_map) {
  for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(scaled(200, 10)); ++seed) {
    SCOPED_TRACE(seed);
    model one(seed);
    for (int i = 0; i < 1000 && !::testing::Test::HasFatalFailure(); ++i) {
      one.step();
    }
    one.drain();
    if (::testing::Test::HasFatalFailure()) {
      return;
    }
  }
}

TEST(timer_wheel_test, the_ends_of_time) {
  timer_wheel wheel;
  EXPECT_TRUE(wheel.empty());
  EXPECT_EQ(wheel.next(), time_point::max());
  timer first(time_point::min());
  timer last(time_point::max() - 1ns);
  timer zero(time_point{});
  wheel.arm(last.entry);
  EXPECT_EQ(wheel.next(), time_point::max() - 1ns);
  wheel.arm(first.entry);
  EXPECT_EQ(wheel.next(), time_point::min());
  wheel.arm(zero.entry);
  {
    wake_batch batch;
    wheel.fire(time_point(1ns), batch);
  }
  EXPECT_TRUE(first.fired());
  EXPECT_TRUE(zero.fired());
  EXPECT_FALSE(last.fired());
  EXPECT_EQ(wheel.next(), time_point::max() - 1ns);
  {
    wake_batch batch;
    wheel.fire(time_point::max() - 2ns, batch);
  }
  EXPECT_FALSE(last.fired());
  {
    wake_batch batch;
    wheel.fire(time_point::max() - 1ns, batch);
  }
  EXPECT_TRUE(last.fired());
  EXPECT_TRUE(wheel.empty());
}

TEST(timer_wheel_test, within_one_tick_deadlines_are_exact) {
  timer_wheel wheel;
  const time_point base(std::chrono::nanoseconds(std::int64_t{1} << 40));
  std::vector<std::unique_ptr<timer>> timers;
  for (int i = 0; i < 1024; ++i) {
    timers.push_back(std::make_unique<timer>(base + std::chrono::nanoseconds((i * 331) % 1024)));
    wheel.arm(timers.back()->entry);
  }
  for (int now = 0; now < 1024; ++now) {
    ASSERT_EQ(wheel.next(), base + std::chrono::nanoseconds(now));
    wake_batch batch;
    wheel.fire(base + std::chrono::nanoseconds(now), batch);
    int fired = 0;
    for (auto& each : timers) {
      if (each->fired()) {
        ++fired;
        EXPECT_EQ(each->entry.deadline, base + std::chrono::nanoseconds(now));
      }
    }
    ASSERT_EQ(fired, 1);
  }
  EXPECT_TRUE(wheel.empty());
}

TEST(timer_wheel_test, an_entry_whose_wait_somebody_else_won_does_not_fire) {
  timer_wheel wheel;
  timer one(time_point(5ns));
  wheel.arm(one.entry);
  ASSERT_TRUE(unpark(one.entry.token));
  wake_batch batch;
  wheel.fire(time_point(10ns), batch);
  EXPECT_TRUE(one.fired());
  EXPECT_EQ(one.who.word.reason(), wake_reason::notified);
  timer_wheel::disarm(one.entry);
}

TEST(timer_wheel_test, disarm_races_with_fire) {
  // The owner arms, disarms and reuses; a peer fires all the while. An entry that has been disarmed is never touched again:
  // ASan and TSan watch.
  timer_wheel wheel;
  std::atomic<bool> over{false};
  std::thread peer([&] {
    while (!over) {
      wake_batch batch;
      wheel.fire(time_point(std::chrono::nanoseconds(1'000'000)), batch);
    }
  });
  int fired = 0;
  for (int i = 0; i < scaled(200'000, 2000); ++i) {
    const auto one = std::make_unique<timer>(time_point(std::chrono::nanoseconds(i % 2 == 0 ? 500'000 : 2'000'000)));
    wheel.arm(one->entry);
    timer_wheel::disarm(one->entry);
    const bool hit = one->fired();
    ASSERT_TRUE(!hit || i % 2 == 0);
    fired += hit ? 1 : 0;
  }
  over = true;
  peer.join();
  EXPECT_EQ(wheel.next(), time_point::max());
}

}  // namespace
}  // namespace aramid::test
