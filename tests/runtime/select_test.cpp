// aramid::select: exactly one case happens, fairly, and nothing is lost or doubled on the way.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/channel.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/select.hpp>

#include "crowd.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

using select_test = runtime_test;
INSTANTIATE_TEST_SUITE_P(workers, select_test, worker_counts);

TEST_P(select_test, takes_the_case_that_is_ready) {
  run([] {
    channel<int> empty(1);
    channel<int> full(1);
    full.send(7);
    channel<std::string> closed;
    closed.close();
    event set;
    set.set();
    auto ended = spawn([] { return 5; });
    yield_until([&] { return ended.done(); });
    int got = 0;
    EXPECT_EQ(select(on_receive(empty), on_receive(full, [&](std::optional<int> item) { got = item.value(); })), 1U);
    EXPECT_EQ(got, 7);
    EXPECT_EQ(select(on_send(empty, 8), on_receive(full)), 0U);
    EXPECT_EQ(empty.receive(), 8);
    EXPECT_EQ(select(on_receive(full), on_set(set)), 1U);
    EXPECT_EQ(select(on_join(ended, [&](int result) { got = result; }), on_receive(full)), 0U);
    EXPECT_EQ(got, 5);
    EXPECT_FALSE(ended.joinable());
    bool end = false;
    EXPECT_EQ(select(on_receive(closed, [&](const std::optional<std::string>& item) { end = !item; }), on_receive(full)), 0U);
    EXPECT_TRUE(end);
    EXPECT_THROW(select(on_send(closed, "x")), channel_closed);
    EXPECT_EQ(try_select(on_receive(full), on_receive(empty)), std::nullopt);
    EXPECT_EQ(try_select(on_receive(full), on_set(set)), 1U);
    EXPECT_EQ(select(on_receive(full), after(0s)), 1U);
    EXPECT_EQ(select(on_receive(full), at(clock::now() - 1h)), 1U);
    full.send(1);
    EXPECT_EQ(select(after(0s), on_receive(full)), 1U);  // a deadline is the last resort
  });
}

TEST_P(select_test, waits_for_whichever_comes_first) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    for (int source = 0; source != 5; ++source) {
      channel<int> in;
      channel<int> out;
      event come;
      std::atomic<int> chosen{-1};
      crowd all(GetParam(), which);
      event may_end;
      auto ending = all.runtime().spawn([&] { may_end.wait(); });
      all.start([&] {
        chosen = static_cast<int>(select(on_receive(in, [](std::optional<int> item) { EXPECT_EQ(item, 3); }), on_send(out, 4),
                                         on_set(come), on_join(ending), after(source == 4 ? 2ms : 1h)));
      });
      this_fiber::sleep_for(1ms);
      switch (source) {
        case 0:
          in.send(3);
          break;
        case 1:
          EXPECT_EQ(out.receive(), 4);
          break;
        case 2:
          come.set();
          break;
        case 3:
          may_end.set();
          break;
        default:
          break;
      }
      all.join();
      EXPECT_EQ(chosen, source);
      may_end.set();
      EXPECT_EQ(ending.joinable(), source != 3);
      // What was not chosen has left nothing behind.
      EXPECT_EQ(in.try_send(1), channel_status::would_block);
      EXPECT_EQ(out.try_receive().status(), channel_status::would_block);
    }
  }
}

TEST_P(select_test, an_item_is_moved_from_only_if_it_was_sent) {
  run([] {
    channel<std::unique_ptr<int>> full(1);
    full.send(std::make_unique<int>(1));
    auto item = std::make_unique<int>(2);
    event set;
    set.set();
    EXPECT_EQ(select(on_send(full, std::move(item)), on_set(set)), 1U);
    ASSERT_NE(item, nullptr);
    EXPECT_EQ(select(on_send(full, std::move(item)), after(1ms)), 1U);
    ASSERT_NE(item, nullptr);
    {
      cancel_scope scope;
      const auto other = spawn([&] { scope.cancel(); });
      EXPECT_FALSE(scope.run([&] { select(on_send(full, std::move(item)), after(1h)); }));
    }
    ASSERT_NE(item, nullptr);
    (void)full.try_receive();
    EXPECT_EQ(try_select(on_send(full, std::move(item))), 0U);
    EXPECT_EQ(item, nullptr);
  });
}

TEST_P(select_test, closing_wakes_both_sides) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    channel<int> items;
    channel<int> never;
    std::atomic<int> ends{0};
    crowd all(GetParam(), which);
    for (int i = 0; i != 3; ++i) {
      all.start([&] {
        select(on_receive(never), on_receive(items, [&](std::optional<int> item) { ends += item ? 0 : 1; }));
      });
    }
    this_fiber::sleep_for(1ms);
    items.close();
    all.join();
    EXPECT_EQ(ends, 3);
    channel<int> more;
    for (int i = 0; i != 3; ++i) {
      all.start([&] {
        try {
          select(on_receive(never), on_send(more, 1));
        } catch (const channel_closed&) {
          ++ends;
        }
      });
    }
    this_fiber::sleep_for(1ms);
    more.close();
    all.join();
    EXPECT_EQ(ends, 6);
  }
}

TEST_P(select_test, works_with_the_ends_of_a_channel) {
  run([] {
    auto [out, in] = make_channel<int>(1);
    EXPECT_EQ(select(on_receive(in), on_send(out, 4)), 1U);
    EXPECT_EQ(select(on_receive(in, [](std::optional<int> item) { EXPECT_EQ(item, 4); })), 0U);
    out.reset();
    EXPECT_EQ(select(on_receive(in, [](std::optional<int> item) { EXPECT_EQ(item, std::nullopt); })), 0U);
    const receiver<int> none;
    EXPECT_THROW(select(on_receive(none)), std::logic_error);
    fiber<> nobody;
    EXPECT_THROW(select(on_join(nobody)), std::logic_error);
  });
}

TEST_P(select_test, a_joined_failure_is_thrown) {
  run([] {
    channel<int> never;
    auto failing = spawn([]() -> int { throw std::runtime_error("alas"); });
    EXPECT_THROW(select(on_receive(never), on_join(failing)), std::runtime_error);
    auto cancelled_one = spawn([] { sleep_until_cancelled(); });
    cancelled_one.cancel();
    EXPECT_THROW(select(on_receive(never), on_join(cancelled_one)), fiber_cancelled);
  });
}

TEST_P(select_test, is_fair_to_cases_that_are_always_ready) {
  run([] {
    std::array<event, 4> always;
    for (event& each : always) {
      each.set();
    }
    std::array<int, 4> times{};
    for (int n = 0; n != 4000; ++n) {
      ++times[select(on_set(always[0]), on_set(always[1]), on_set(always[2]), on_set(always[3]))];
    }
    for (const int each : times) {
      EXPECT_GT(each, 800);  // of 1000; six standard deviations are 164
    }
  });
}

TEST_P(select_test, one_that_sends_and_receives_does_not_meet_itself) {
  run([] {
    channel<int> items;
    EXPECT_EQ(select(on_receive(items), on_send(items, 1), after(1ms)), 2U);
    EXPECT_EQ(try_select(on_receive(items), on_send(items, 1)), std::nullopt);
    // Two of them do meet.
    auto other = spawn([&] { return select(on_receive(items), on_send(items, 1)); });
    const std::size_t mine = select(on_receive(items), on_send(items, 1));
    EXPECT_EQ(mine + other.join(), 1U);
  });
}

TEST_P(select_test, a_cancelled_one_is_told_so_before_anything_happens) {
  run([] {
    channel<int> items(1);
    items.send(1);
    cancel_scope scope;
    scope.cancel();
    EXPECT_FALSE(scope.run([&] { select(on_receive(items)); }));
    EXPECT_EQ(items.size(), 1U);
  });
}

// A ring of channels in which everybody both sends and receives by `select`, with deadlines and cancellations: every item that was
// sent is received once.
TEST_P(select_test, no_item_is_lost_or_doubled) {
  for (const who which : {who::fibers, who::both}) {
    for (const std::size_t capacity : {0U, 2U}) {
      SCOPED_TRACE(which);
      const int rounds = scaled(150);
      crowd all(GetParam(), which);
      std::minstd_rand random(1);
      for (int round = 0; round < rounds; ++round) {
        channel<int> a(capacity);
        channel<int> b(capacity);
        std::atomic<long> sent{0};
        std::atomic<long> received{0};
        event stop;
        for (int i = 0; i < 8; ++i) {
          all.start([&, i] {
            for (int n = 1; n < 30; ++n) {
              const int value = 100 * i + n;
              const auto take = [&](std::optional<int> item) { received += item.value(); };
              const auto gave = [&] { sent += value; };
              switch (i % 4) {
                case 0:
                  select(on_receive(a, take), on_send(b, value, gave), after(std::chrono::microseconds(n)));
                  break;
                case 1:
                  select(on_receive(b, take), on_send(a, value, gave), on_set(stop));
                  break;
                case 2:
                  select(on_receive(a, take), on_receive(b, take), on_send(a, value, gave), on_send(b, value, gave),
                         on_set(stop));
                  break;
                default:
                  if (a.send_for(value, std::chrono::microseconds(n)) == channel_status::ok) {
                    gave();
                  }
                  if (auto item = b.receive_for(std::chrono::microseconds(n))) {
                    take(item);
                  }
                  break;
              }
            }
          });
        }
        for (fiber<>& each : all.fibers()) {
          if (random() % 4 == 0) {
            each.cancel();
          }
        }
        all.start_fiber([&] {
          this_fiber::sleep_for(100us);
          stop.set();
        });
        all.join();
        for (channel<int>* each : {&a, &b}) {
          while (const auto item = each->try_receive()) {
            received += *item;
          }
        }
        ASSERT_EQ(sent, received) << "round " << round;
      }
    }
  }
}

TEST_P(select_test, joins_each_fiber_once) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(200);
    crowd all(GetParam(), which);
    for (int round = 0; round < rounds; ++round) {
      std::atomic<int> total{0};
      all.start([&] {
        std::array<fiber<int>, 3> workers;
        for (int i = 0; i != 3; ++i) {
          workers[static_cast<std::size_t>(i)] = all.runtime().spawn([i] {
            this_fiber::yield();
            return 1 << i;
          });
        }
        channel<int> never;
        const auto add = [&](int result) { total += result; };
        // First answer wins; then the others.
        const std::size_t first = select(on_join(workers[0], add), on_join(workers[1], add), on_join(workers[2], add), on_receive(never));
        for (std::size_t i = 0; i != 3; ++i) {
          EXPECT_EQ(workers[i].joinable(), i != first);
          if (i != first) {
            add(workers[i].join());
          }
        }
      });
      all.join();
      EXPECT_EQ(total, 7);
    }
  }
}

}  // namespace
}  // namespace aramid::test
