// The whole scheduler under hundreds of seeds: spawn, steal, park, timers, cancellation, channels, mutexes and groups, stepped
// on one thread. A seed that fails is replayed alone with --seed (simulation_main.cpp).
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/channel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/mutex.hpp>
#include <aramid/run.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "runtime_fixture.hpp"
#include "scale.hpp"
#include "seeds.hpp"
#include "simulation.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

using simulation_test = leaves_nothing;

// --- a mix of everything -------------------------------------------------------------------------------------------------

/// What happened: who, what, at which virtual time.
using event = std::tuple<int, int, std::int64_t>;

class mix {
public:
  mix(std::uint64_t seed, simulation& in) : seed_(seed), in_(in) {}

  void root() {
    std::vector<fiber<>> actors;
    const int count = 4 + static_cast<int>(seed_ % 13);
    for (int i = 0; i < count; ++i) {
      actors.push_back(aramid::spawn(fiber_options{.pinned = i % 5 == 4}, [this, i] { act(i); }));
    }
    auto drain = aramid::spawn([this] {
      while (const auto item = items_.receive()) {
        received_ += *item;
      }
    });
    for (auto& each : actors) {
      each.join();
    }
    items_.close();
    drain.join();
  }

  void check() const {
    EXPECT_EQ(received_, sent_);
    EXPECT_EQ(inside_, 0);
    EXPECT_GT(trace_.size(), 0U);
  }

  [[nodiscard]] const std::vector<event>& trace() const { return trace_; }

private:
  void note(int who, int what) { trace_.emplace_back(who, what, in_.now().time_since_epoch().count()); }

  void act(int me) {
    std::mt19937_64 random(seed_ * 1000 + static_cast<std::uint64_t>(me));
    for (int i = 0; i < 12; ++i) {
      const int what = static_cast<int>(random() % 10);
      note(me, what);
      const auto some_time = std::chrono::nanoseconds(random() % (random() % 2 == 0 ? 5'000 : 50'000'000));
      switch (what) {
        case 0:
          this_fiber::yield();
          break;
        case 1:
          this_fiber::sleep_for(some_time);
          break;
        case 2: {
          auto child = aramid::spawn([this, some_time] {
            this_fiber::sleep_for(some_time);
            return 7;
          });
          EXPECT_EQ(child.join(), 7);
          break;
        }
        case 3: {
          auto child = aramid::spawn([] { this_fiber::sleep_for(1000h); });
          for (auto n = random() % 3; n != 0; --n) {
            this_fiber::yield();
          }
          child.cancel();
          EXPECT_THROW(child.join(), fiber_cancelled);
          break;
        }
        case 4: {
          const int value = static_cast<int>(random() % 100);
          items_.send(value);
          sent_ += value;
          break;
        }
        case 5: {
          const std::lock_guard guard(lock_);
          EXPECT_EQ(++inside_, 1);
          this_fiber::yield();
          this_fiber::sleep_for(some_time / 10);
          --inside_;
          break;
        }
        case 6: {
          const bool in_time = try_with_timeout(some_time, [] { this_fiber::sleep_for(10us); });
          note(me, in_time ? 100 : 101);
          break;
        }
        case 7: {
          const bool got = try_with_timeout(some_time / 100, [this] {
            const std::lock_guard guard(lock_);
            ++inside_;
            --inside_;
          });
          note(me, got ? 102 : 103);
          break;
        }
        case 8:
          group(random() % 2 == 0, some_time);
          break;
        default: {
          auto dropped = aramid::spawn([this, some_time] {
            const std::lock_guard guard(lock_);
            EXPECT_EQ(++inside_, 1);
            try {
              this_fiber::sleep_for(some_time);
            } catch (...) {
              --inside_;
              throw;
            }
            --inside_;
          });
          this_fiber::yield();
          break;
        }
      }
    }
    note(me, 200);
  }

  void group(bool fails, std::chrono::nanoseconds some_time) {
    try {
      with_task_group([&](task_group& group) {
        for (int i = 0; i < 3; ++i) {
          group.spawn([some_time, i] { this_fiber::sleep_for(some_time * i); });
        }
        if (fails) {
          group.spawn([some_time] {
            this_fiber::sleep_for(some_time / 2);
            throw std::runtime_error("expected");
          });
          this_fiber::sleep_for(1000h);
        }
      });
      EXPECT_FALSE(fails);
    } catch (const std::runtime_error&) {
      EXPECT_TRUE(fails);
    }
  }

  const std::uint64_t seed_;
  simulation& in_;
  channel<int> items_{2};
  mutex lock_;
  int inside_ = 0;
  long sent_ = 0;
  long received_ = 0;
  std::vector<event> trace_;
};

struct outcome {
  std::vector<event> trace;
  std::uint64_t switches = 0;
  std::uint64_t steals = 0;
  std::uint64_t migrations = 0;
  std::uint64_t parks = 0;
  std::uint64_t given = 0;
  time_point ended;

  friend bool operator==(const outcome&, const outcome&) = default;
};

outcome simulate(std::uint64_t seed) {
  simulation in(seed, workers_for(seed));
  if (seed % 2 == 0) {
    in.let_time_pass();
  }
  mix all(seed, in);
  {
    auto root = in.spawn([&] { all.root(); });
    in.run();
    root.join();
  }
  all.check();
  const statistics stats = in.stats();
  return {all.trace(), stats.switches, stats.steals, stats.migrations, stats.parks, in.given(), in.now()};
}

TEST_F(simulation_test, everything_at_once_ends_well_under_every_seed) {
  std::uint64_t steals = 0;
  std::uint64_t migrations = 0;
  std::uint64_t parks = 0;
  std::uint64_t given = 0;
  for_each_seed(4000, [&](std::uint64_t seed) {
    const outcome result = simulate(seed);
    steals += result.steals;
    migrations += result.migrations;
    parks += result.parks;
    given += result.given;
    EXPECT_TRUE(simulation::crowded(seed) || result.given == 0) << "with CPUs to spare work is not given away";
  });
  if (!seeds_asked_for) {
    EXPECT_GT(steals, 100U);
    EXPECT_GT(migrations, 100U);
    EXPECT_GT(parks, 100U);
    EXPECT_GT(given, 10U);
  }
}

TEST_F(simulation_test, the_same_seed_replays_exactly) {
  for_each_seed(500, [&](std::uint64_t seed) { EXPECT_TRUE(simulate(seed) == simulate(seed)); });
}

TEST_F(simulation_test, different_seeds_differ) {
  EXPECT_FALSE(simulate(3).trace == simulate(3 + 8).trace);
}

// --- time --------------------------------------------------------------------------------------------------------------

TEST_F(simulation_test, sleepers_wake_at_the_very_nanosecond_and_in_order) {
  for_each_seed(1000, [](std::uint64_t seed) {
    simulation in(seed, workers_for(seed));
    std::vector<time_point> woke;
    auto root = in.spawn([&] {
      std::mt19937_64 random(seed);
      std::vector<fiber<>> sleepers;
      for (int i = 0; i < 50; ++i) {
        // From nanoseconds to years.
        const auto length = std::chrono::nanoseconds(1 + (random() >> (8 + random() % 50)));
        sleepers.push_back(aramid::spawn([&, length] {
          const time_point deadline = in.now() + length;
          this_fiber::sleep_for(length);
          EXPECT_EQ(in.now(), deadline);
          woke.push_back(in.now());
        }));
      }
      for (auto& each : sleepers) {
        each.join();
      }
    });
    in.run();
    root.join();
    EXPECT_TRUE(std::is_sorted(woke.begin(), woke.end()));
    EXPECT_EQ(woke.size(), 50U);
  });
}

TEST_F(simulation_test, of_nested_timeouts_the_earlier_fires_at_its_time) {
  for_each_seed(1000, [](std::uint64_t seed) {
    simulation in(seed, workers_for(seed));
    auto root = in.spawn([&] {
      std::mt19937_64 random(seed);
      std::vector<fiber<>> fibers;
      for (int i = 0; i < 20; ++i) {
        const auto outer = std::chrono::microseconds(1 + random() % 50);
        const auto inner = std::chrono::microseconds(1 + random() % 50);
        const auto work = std::chrono::microseconds(1 + random() % 50);
        fibers.push_back(aramid::spawn([&in, outer, inner, work] {
          const time_point begun = in.now();
          int reported = 0;
          try {
            with_timeout(outer, [&] {
              try {
                with_timeout(inner, [&] { this_fiber::sleep_for(work); });
              } catch (const timeout_error&) {
                reported = 1;
              }
            });
          } catch (const timeout_error&) {
            reported = 2;
          }
          EXPECT_EQ(in.now() - begun, std::min({outer, inner, work}));
          if (work < inner && work < outer) {
            EXPECT_EQ(reported, 0);
          } else if (inner < outer && inner < work) {
            EXPECT_EQ(reported, 1);
          } else if (outer < inner && outer < work) {
            EXPECT_EQ(reported, 2);
          }
        }));
      }
      for (auto& each : fibers) {
        each.join();
      }
    });
    in.run();
    root.join();
  });
}

// --- idle --------------------------------------------------------------------------------------------------------------

TEST_F(simulation_test, wakes_are_never_lost) {
  // Few fibers and many workers: most of them asleep most of the time, so that every wake has to reach the right one.
  for_each_seed(5000, [](std::uint64_t seed) {
    simulation in(seed, workers_for(seed));
    int rounds = 0;
    auto root = in.spawn([&] {
      channel<int> there;
      channel<int> back;
      auto echo = aramid::spawn(fiber_options{.pinned = seed % 3 == 0}, [&] {
        while (const auto item = there.receive()) {
          if (*item % 4 == 0) {
            this_fiber::sleep_for(1us);
          }
          back.send(*item);
        }
      });
      for (; rounds < 30; ++rounds) {
        there.send(rounds);
        if (rounds % 5 == 0) {
          aramid::spawn([] { this_fiber::yield(); }).join();
        }
        EXPECT_EQ(back.receive(), rounds);
      }
      there.close();
      echo.join();
    });
    in.run();
    root.join();
    EXPECT_EQ(rounds, 30);
  });
}

// --- trees -------------------------------------------------------------------------------------------------------------

/// A tree of groups, one of whose fibers cancels the whole of it, or fails, at some time.
class tree {
public:
  explicit tree(std::uint64_t seed) : random_(seed), depth_(2 + static_cast<int>(seed % 3)) {}

  void root() {
    cancel_scope scope;
    try {
      (void)scope.run([&] { node(scope, 0); });
    } catch (const std::runtime_error&) {
      ++failures_;
    }
  }

  void check() const {
    EXPECT_EQ(begun_, ended_);
    EXPECT_LE(failures_, 1);
  }

private:
  void node(cancel_scope& whole, int depth) {
    ++begun_;
    try {
      with_task_group([&](task_group& group) {
        for (auto n = 1 + random_() % 3; depth != depth_ && n != 0; --n) {
          group.spawn([&, depth] { node(whole, depth + 1); });
        }
        linger();
        if (const auto what = random_() % 40; what == 0) {
          whole.cancel();
        } else if (what == 1) {
          throw std::runtime_error("expected");
        }
        linger();
      });
    } catch (...) {
      ++ended_;
      throw;
    }
    ++ended_;
  }

  void linger() {
    switch (random_() % 3) {
      case 0:
        this_fiber::yield();
        break;
      case 1:
        this_fiber::sleep_for(std::chrono::nanoseconds(random_() % 1'000'000));
        break;
      default:
        aramid::spawn([this] { this_fiber::sleep_for(std::chrono::nanoseconds(random_() % 1000)); }).join();
        break;
    }
  }

  std::mt19937_64 random_;
  const int depth_;
  int begun_ = 0;
  int ended_ = 0;
  int failures_ = 0;
};

TEST_F(simulation_test, trees_of_groups_end_as_a_whole) {
  // Failures of children whose group had been cancelled are logged; they are expected.
  set_log_handler([](std::string_view) {});
  for_each_seed(2000, [](std::uint64_t seed) {
    simulation in(seed, workers_for(seed));
    tree all(seed);
    auto root = in.spawn([&] { all.root(); });
    in.run();
    root.join();
    all.check();
  });
  set_log_handler({});
}

// --- the simulation itself -----------------------------------------------------------------------------------------------

TEST_F(simulation_test, a_lost_wake_is_found) {
  int found = 0;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    simulation in(seed, 2);
    channel<int> gate;
    auto root = in.spawn([&] {
      std::vector<fiber<>> receivers;
      for (int i = 0; i != 8; ++i) {
        receivers.push_back(aramid::spawn(fiber_options{.pinned = true}, [&] { EXPECT_EQ(gate.receive(), 1); }));
      }
      this_fiber::sleep_for(1s);
      in.lose_wakes();
      for (int i = 0; i != 8; ++i) {
        gate.send(1);
      }
      for (fiber<>& each : receivers) {
        each.join();
      }
    });
    if (in.try_run() == simulation::end::stuck) {
      ++found;
      in.wake_all();
      in.run();
    }
    root.join();
  }
  // Where all receivers live on the sender's own worker nobody has to be woken.
  EXPECT_GT(found, 10) << "of 50";
}

}  // namespace
}  // namespace aramid::test
