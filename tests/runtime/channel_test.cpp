// aramid::channel and its ends: every item is with its sender, in the buffer, or with one receiver, whatever else happens.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/channel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

#include "crowd.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

class channel_test : public runtime_test {};

INSTANTIATE_TEST_SUITE_P(workers, channel_test, worker_counts);

/// Move-only, and knows whether it has been moved from.
class token {
public:
  explicit token(int id) noexcept : id_(id) {}
  token(token&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  token& operator=(token&& other) noexcept {
    id_ = std::exchange(other.id_, -1);
    return *this;
  }
  [[nodiscard]] int id() const { return id_; }

private:
  int id_;
};

TEST_P(channel_test, a_buffer_takes_its_capacity_and_keeps_the_order) {
  run([] {
    channel<int> numbers(5);
    EXPECT_EQ(numbers.capacity(), 5U);
    for (int lap = 0; lap < 7; ++lap) {
      for (int i = 0; i < 5; ++i) {
        numbers.send(i);
      }
      EXPECT_EQ(numbers.size(), 5U);
      EXPECT_EQ(numbers.try_send(5), channel_status::would_block);
      EXPECT_EQ(numbers.receive(), 0);
      EXPECT_EQ(numbers.try_send(5), channel_status::ok);
      for (int i = 1; i < 6; ++i) {
        EXPECT_EQ(numbers.receive(), i);
      }
      EXPECT_EQ(numbers.size(), 0U);
      EXPECT_FALSE(numbers.try_receive());
    }
  });
}

TEST_P(channel_test, a_rendezvous_has_no_room_for_an_item) {
  run([] {
    channel<int> numbers;
    EXPECT_EQ(numbers.capacity(), 0U);
    EXPECT_EQ(numbers.try_send(1), channel_status::would_block);
    EXPECT_EQ(numbers.send_for(1, 1ms), channel_status::timed_out);
    EXPECT_EQ(numbers.try_receive().status(), channel_status::would_block);
    EXPECT_EQ(numbers.receive_for(1ms).status(), channel_status::timed_out);
  });
}

TEST_P(channel_test, a_rendezvous_send_returns_only_once_a_receiver_has_come) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(2000);
    channel<int> numbers;
    std::atomic<int> receiving{0};  // receives begun
    std::atomic<int> early{0};
    crowd all(GetParam(), which);
    all.start([&] {
      for (int n = 1; n <= rounds; ++n) {
        numbers.send(n);
        early += receiving.load() < n ? 1 : 0;
      }
    });
    all.start([&] {
      for (int n = 1; n <= rounds; ++n) {
        if (n % 3 == 0) {
          this_fiber::yield();  // the sender comes first now and then
        }
        ++receiving;
        EXPECT_EQ(numbers.receive(), n);
      }
    });
    all.join();
    EXPECT_EQ(early, 0);
  }
}

struct shape {
  int producers;
  int consumers;
  std::size_t capacity;
};

TEST_P(channel_test, many_to_many_each_item_arrives_once_and_in_its_senders_order) {
  for (const who which : everybody) {
    for (const shape form : {shape{1, 1, 0}, shape{1, 1, 1}, shape{1, 1, 128}, shape{4, 4, 0},
                             shape{4, 4, 3}, shape{7, 1, 16}, shape{1, 7, 16}}) {
      SCOPED_TRACE(::testing::Message() << which << ' ' << form.producers << " to "
                                        << form.consumers << " through " << form.capacity);
      const int rounds = scaled(4000);
      channel<std::pair<int, int>> items(form.capacity);
      std::mutex merge;
      std::vector<int> seen(static_cast<std::size_t>(form.producers * rounds));
      std::atomic<int> out_of_order{0};
      std::atomic<int> sending{form.producers};
      crowd all(GetParam(), which);
      for (int p = 0; p < form.producers; ++p) {
        all.start([&, p] {
          for (int n = 0; n < rounds; ++n) {
            items.send({p, n});
          }
          if (--sending == 0) {
            items.close();
          }
        });
      }
      for (int c = 0; c < form.consumers; ++c) {
        all.start([&] {
          std::vector<int> last(static_cast<std::size_t>(form.producers), -1);
          std::vector<int> mine;
          for (const auto& [from, n] : items) {
            int& previous = last[static_cast<std::size_t>(from)];
            out_of_order += n > previous ? 0 : 1;
            previous = n;
            mine.push_back(from * rounds + n);
          }
          const std::lock_guard guard(merge);
          for (const int i : mine) {
            ++seen[static_cast<std::size_t>(i)];
          }
        });
      }
      all.join();
      EXPECT_EQ(out_of_order, 0);
      EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
    }
  }
}

TEST_P(channel_test, a_thread_and_a_fiber_play_ping_pong) {
  const int rounds = scaled(5000);
  channel<int> there;
  channel<int> back;
  crowd all(GetParam());
  all.start_thread([&] {
    for (int n = 0; n < rounds; ++n) {
      there.send(n);
      EXPECT_EQ(back.receive(), n + 1);
    }
    there.close();
  });
  all.start_fiber([&] {
    for (const int n : there) {
      back.send(n + 1);
    }
  });
  all.join();
}

TEST_P(channel_test, carries_what_can_only_be_moved_and_what_is_over_aligned) {
  run([] {
    channel<std::unique_ptr<int>> pointers(2);
    pointers.send(std::make_unique<int>(1));
    auto second = std::make_unique<int>(2);
    EXPECT_EQ(pointers.try_send(std::move(second)), channel_status::ok);
    EXPECT_EQ(second, nullptr);
    auto third = std::make_unique<int>(3);
    EXPECT_EQ(pointers.try_send(std::move(third)), channel_status::would_block);
    ASSERT_NE(third, nullptr);
    EXPECT_EQ(**pointers.receive(), 1);
    EXPECT_EQ(**pointers.try_receive(), 2);

    struct alignas(128) wide {
      std::uintptr_t self = 0;
    };
    channel<wide> wides(3);
    for (int i = 0; i < 3; ++i) {
      wides.send(wide{});
    }
    for (int i = 0; i < 3; ++i) {
      const auto item = wides.receive();
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&*item) % 128, 0U);
    }
  });
}

TEST_P(channel_test, a_copy_that_throws_leaves_the_channel_as_it_was) {
  struct fragile {
    fragile() = default;
    fragile(const fragile&) { throw std::runtime_error("copy"); }
    fragile(fragile&&) noexcept = default;
  };
  run([] {
    channel<fragile> items(1);
    const fragile item;
    EXPECT_THROW(items.send(item), std::runtime_error);
    EXPECT_EQ(items.size(), 0U);
    items.send(fragile());
    EXPECT_TRUE(items.receive().has_value());
  });
}

TEST_P(channel_test, closed_it_drains_and_then_ends) {
  run([] {
    channel<int> numbers(3);
    numbers.send(1);
    numbers.send(2);
    EXPECT_FALSE(numbers.closed());
    numbers.close();
    numbers.close();
    EXPECT_TRUE(numbers.closed());
    EXPECT_THROW(numbers.send(3), channel_closed);
    EXPECT_EQ(numbers.try_send(3), channel_status::closed);
    EXPECT_EQ(numbers.send_for(3, 1h), channel_status::closed);
    EXPECT_EQ(numbers.receive(), 1);
    EXPECT_EQ(numbers.receive_for(1h), 2);
    EXPECT_EQ(numbers.receive(), std::nullopt);
    EXPECT_EQ(numbers.try_receive().status(), channel_status::closed);
    EXPECT_EQ(numbers.receive_until(clock::now() + 1h).status(), channel_status::closed);
    for ([[maybe_unused]] const int n : numbers) {
      ADD_FAILURE();
    }
  });
}

TEST_P(channel_test, what_a_closed_channel_refuses_stays_with_the_caller) {
  run([] {
    channel<std::unique_ptr<int>> items(1);
    items.close();
    auto item = std::make_unique<int>(7);
    try {
      items.send(std::move(item));
      ADD_FAILURE();
    } catch (const channel_closed& error) {
      EXPECT_NE(std::string(error.what()).find("channel"), std::string::npos);
    }
    ASSERT_NE(item, nullptr);
    EXPECT_EQ(items.send_for(std::move(item), 1h), channel_status::closed);
    EXPECT_NE(item, nullptr);
  });
}

TEST_P(channel_test, closing_wakes_everybody_who_waits) {
  for (const who which : everybody) {
    for (const std::size_t capacity : {0U, 2U}) {
      SCOPED_TRACE(::testing::Message() << which << " capacity " << capacity);
      const int rounds = scaled(50);
      crowd all(GetParam(), which);
      for (int round = 0; round < rounds; ++round) {
        channel<token> full(capacity);
        channel<token> empty(capacity);
        for (std::size_t i = 0; i < capacity; ++i) {
          full.send(token(0));
        }
        std::atomic<int> refused{0};
        std::atomic<int> ended{0};
        std::atomic<int> started{0};
        for (int i = 0; i < 3; ++i) {
          all.start([&] {
            token mine(5);
            ++started;
            try {
              full.send(std::move(mine));
            } catch (const channel_closed&) {
              refused += mine.id() == 5 ? 1 : 0;
            }
          });
          all.start([&] {
            ++started;
            ended += empty.receive() ? 0 : 1;
          });
        }
        if (round % 2 == 0) {
          yield_until([&] { return started == 6; });
        }
        full.close();
        empty.close();
        all.join();
        ASSERT_EQ(refused, 3);
        ASSERT_EQ(ended, 3);
        ASSERT_EQ(full.size(), capacity);
      }
    }
  }
}

TEST_P(channel_test, what_was_sent_before_the_close_is_received_and_nothing_else) {
  for (const who which : everybody) {
    for (const std::size_t capacity : {0U, 1U, 16U}) {
      SCOPED_TRACE(::testing::Message() << which << " capacity " << capacity);
      const int rounds = scaled(60);
      crowd all(GetParam(), which);
      for (int round = 0; round < rounds; ++round) {
        channel<token> items(capacity);
        std::atomic<int> sent{0};
        std::atomic<int> got{0};
        for (int i = 0; i < 3; ++i) {
          all.start([&] {
            try {
              for (;;) {
                items.send(token(1));
                ++sent;
              }
            } catch (const channel_closed&) {
            }
          });
          all.start([&] {
            while (const auto item = items.receive()) {
              got += item->id();
            }
          });
        }
        yield_until([&] { return got.load() >= round % 5; });
        items.close();
        all.join();
        ASSERT_EQ(sent, got);
      }
    }
  }
}

TEST(channel_on_one_worker, serves_each_side_in_the_order_of_the_calls) {
  run(
      [] {
        for (const std::size_t capacity : {0U, 2U}) {
          channel<int> numbers(capacity);
          const int waiting = 6;
          std::vector<fiber<>> fibers;
          int started = 0;
          std::vector<std::pair<int, int>> got;
          for (int i = 0; i < waiting; ++i) {
            fibers.push_back(spawn([&, i] {
              ++started;
              const int item = numbers.receive().value();
              got.emplace_back(i, item);
            }));
            yield_until([&] { return started == i + 1; });
          }
          for (int i = 0; i < waiting; ++i) {
            numbers.send(i);
          }
          for (fiber<>& each : fibers) {
            each.join();
          }
          std::sort(got.begin(), got.end());
          for (int i = 0; i < waiting; ++i) {
            EXPECT_EQ(got[static_cast<std::size_t>(i)], std::pair(i, i));
          }

          fibers.clear();
          started = 0;
          for (int i = 0; i < waiting; ++i) {
            fibers.push_back(spawn([&, i] {
              ++started;
              numbers.send(i);
            }));
            yield_until([&] { return started == i + 1; });
          }
          for (int i = 0; i < waiting; ++i) {
            EXPECT_EQ(numbers.receive(), i);
          }
          for (fiber<>& each : fibers) {
            each.join();
          }
        }
      },
      options{.workers = 1});
}

TEST_P(channel_test, a_cancelled_send_leaves_the_item_with_its_sender) {
  run([] {
    for (const std::size_t capacity : {0U, 1U}) {
      channel<token> items(capacity);
      if (capacity == 1) {
        items.send(token(0));
      }
      token mine(9);
      std::atomic<bool> sending{false};
      auto sender = spawn([&] {
        sending = true;
        items.send(std::move(mine));
      });
      yield_until([&] { return sending.load(); });
      sender.cancel();
      EXPECT_THROW(sender.join(), fiber_cancelled);
      EXPECT_EQ(mine.id(), 9);
      EXPECT_EQ(items.size(), capacity);
    }
  });
}

TEST_P(channel_test, a_cancelled_receive_takes_nothing) {
  run([] {
    channel<token> items(1);
    std::atomic<bool> receiving{false};
    auto receiver = spawn([&] {
      receiving = true;
      (void)items.receive();
    });
    yield_until([&] { return receiving.load(); });
    receiver.cancel();
    EXPECT_THROW(receiver.join(), fiber_cancelled);
    items.send(token(3));
    EXPECT_EQ(items.receive()->id(), 3);
  });
}

TEST_P(channel_test, a_cancelled_fiber_is_told_so_although_it_need_not_wait) {
  run([] {
    channel<int> numbers(4);
    numbers.send(1);
    std::atomic<bool> started{false};
    int thrown = 0;
    auto doomed = spawn([&] {
      started = true;
      try {
        for (;;) {
          this_fiber::yield();
        }
      } catch (const cancelled&) {
      }
      try {
        numbers.send(2);
      } catch (const cancelled&) {
        ++thrown;
      }
      try {
        (void)numbers.receive();
      } catch (const cancelled&) {
        ++thrown;
      }
      EXPECT_EQ(numbers.try_send(3), channel_status::ok);  // try_ is no cancellation point
    });
    yield_until([&] { return started.load(); });
    doomed.cancel();
    doomed.join();
    EXPECT_EQ(thrown, 2);
    EXPECT_EQ(numbers.receive(), 1);
    EXPECT_EQ(numbers.receive(), 3);
    EXPECT_EQ(numbers.size(), 0U);
  });
}

// Producers and consumers are cancelled, run out of time and meet a close, all at random; then every token is looked for.
TEST_P(channel_test, no_token_is_lost_or_doubled_under_random_cancellation) {
  for (const who which : {who::fibers, who::both}) {
    for (const std::size_t capacity : {0U, 1U, 8U}) {
      SCOPED_TRACE(::testing::Message() << which << " capacity " << capacity);
      const int rounds = scaled(150);
      constexpr int members = 6;
      constexpr int each_sends = 20;
      std::minstd_rand random(static_cast<unsigned>(capacity) + 1);
      crowd all(GetParam(), which);
      for (int round = 0; round < rounds; ++round) {
        channel<token> items(capacity);
        // Each token's place in the end: sent and received, or kept.
        std::vector<std::atomic<int>> sent(members * each_sends);
        std::vector<std::atomic<int>> received(members * each_sends);
        for (int m = 0; m < members; ++m) {
          all.start([&, m] {
            for (int n = 0; n < each_sends; ++n) {
              const auto id = static_cast<std::size_t>(m * each_sends + n);
              token mine(static_cast<int>(id));
              const auto settle = [&] {
                // Moved from exactly if it was sent: -1 is what is left of it.
                sent[id] = mine.id() == -1 ? 1 : 0;
              };
              try {
                if (n % 3 == 0) {
                  const auto status = items.send_for(std::move(mine), std::chrono::microseconds(n));
                  EXPECT_EQ(status == channel_status::ok, mine.id() == -1);
                } else {
                  items.send(std::move(mine));
                  EXPECT_EQ(mine.id(), -1);
                }
              } catch (const channel_closed&) {
                EXPECT_EQ(mine.id(), static_cast<int>(id));
              } catch (const cancelled&) {
                EXPECT_EQ(mine.id(), static_cast<int>(id));
                settle();
                throw;
              }
              settle();
            }
          });
          all.start([&, m] {
            for (;;) {
              auto item =
                  m % 2 == 0
                      ? std::optional<token>(items.receive())
                      : std::optional<token>(items.receive_for(std::chrono::microseconds(50)));
              if (item) {
                ++received[static_cast<std::size_t>(item->id())];
              } else if (items.closed()) {
                return;
              }
            }
          });
        }
        // The canceller runs beside them, and so may meet any of their steps.
        all.start_thread([&, seed = random()] {
          std::minstd_rand pick(seed);
          for (fiber<>& each : all.fibers()) {
            if (pick() % 3 == 0) {
              each.cancel();
            }
          }
          for (unsigned i = pick() % 64; i != 0; --i) {
            std::this_thread::yield();
          }
          items.close();
        });
        all.join();
        while (auto item = items.try_receive()) {
          ++received[static_cast<std::size_t>(item->id())];
        }
        for (std::size_t id = 0; id < sent.size(); ++id) {
          ASSERT_EQ(sent[id].load(), received[id].load()) << "token " << id << " round " << round;
        }
      }
    }
  }
}

// Whoever has received the last item may destroy the channel, although its sender has not yet returned.
TEST_P(channel_test, may_be_destroyed_once_all_is_received) {
  for (const who which : everybody) {
    for (const std::size_t capacity : {0U, 1U}) {
      SCOPED_TRACE(::testing::Message() << which << " capacity " << capacity);
      const int rounds = scaled(1000, 100);
      crowd all(GetParam(), which);
      for (int round = 0; round < rounds; ++round) {
        auto* const items = new channel<int>(capacity);
        all.start([items] { items->send(1); });
        all.start([items] {
          EXPECT_EQ(items->receive(), 1);
          delete items;
        });
        if (round % 10 == 9) {
          all.join();
        }
      }
      all.join();
    }
  }
}

TEST_P(channel_test, the_last_sender_closes_it) {
  for (const who which : everybody) {
    SCOPED_TRACE(which);
    const int rounds = scaled(200);
    crowd all(GetParam(), which);
    for (int round = 0; round < rounds; ++round) {
      auto [in, out] = make_channel<int>(static_cast<std::size_t>(round % 3));
      std::atomic<int> sum{0};
      for (int i = 0; i < 3; ++i) {
        all.start([in = in] {
          for (int n = 1; n <= 5; ++n) {
            in.send(n);
          }
        });
      }
      all.start([out = std::move(out), &sum] {
        for (const int n : out) {
          sum += n;
        }
      });
      in.reset();
      all.join();
      ASSERT_EQ(sum, 3 * 15);
    }
  }
}

TEST_P(channel_test, the_last_receiver_closes_it_and_drops_what_nobody_will_get) {
  run([] {
    auto [in, out] = make_channel<std::shared_ptr<int>>(4);
    auto item = std::make_shared<int>(1);
    in.send(item);
    in.send(item);
    EXPECT_EQ(item.use_count(), 3);
    auto second = out;
    out.reset();
    EXPECT_EQ(in.try_send(item), channel_status::ok);
    EXPECT_EQ(*second.receive().value(), 1);
    second.reset();
    EXPECT_EQ(item.use_count(), 1);
    EXPECT_TRUE(in.closed());
    EXPECT_THROW(in.send(item), channel_closed);
    EXPECT_EQ(in.send_for(item, 1h), channel_status::closed);
  });
}

TEST_P(channel_test, an_end_without_a_channel_says_so) {
  run([] {
    sender<int> in;
    receiver<int> out;
    EXPECT_FALSE(in);
    EXPECT_THROW(in.send(1), std::logic_error);
    EXPECT_THROW((void)out.receive(), std::logic_error);
    auto ends = make_channel<int>(1);
    in = std::move(ends.in);
    out = ends.out;
    EXPECT_TRUE(in);
    EXPECT_FALSE(ends.in);
    EXPECT_THROW((void)ends.in.try_send(1), std::logic_error);
    in.send(2);
    EXPECT_EQ(out.receive_for(1h), 2);
    in = sender<int>();
    EXPECT_EQ(out.receive(), std::nullopt);
  });
}

TEST_P(channel_test, a_capacity_that_cannot_be_is_refused) {
  EXPECT_THROW(channel<int>(SIZE_MAX), std::length_error);
  EXPECT_THROW(channel<char>(SIZE_MAX / 2 + 1), std::length_error);
}

}  // namespace
}  // namespace aramid::test
