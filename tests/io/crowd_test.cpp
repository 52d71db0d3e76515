// I/O by workers that are told that there are not enough CPUs for them (runtime/src/worker_crowded.cpp): they give fibers to each other
// instead of waking each other, and still nobody is forgotten.
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <utility>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/semaphore.hpp>
#include <aramid/task_group.hpp>

#include "cut_short.hpp"
#include "leak_check.hpp"
#include "runtime/src/runtime_core.hpp"
#include "runtime/src/thread_state.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/scale.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;

class crowd : public aramid::test::on_each_driver {
protected:
  /// As aramid::run, but skips where there is only one worker.
  template <class Fn>
  static void run_crowded(Fn fn) {
    if (GetParam().workers < 2) {
      GTEST_SKIP() << "one worker is no crowd";
    }
    run([&] {
      detail::current_runtime()->assume_crowded(true);
      fn();
    });
  }

  static std::uint64_t given() { return detail::current_runtime()->given(); }
};
ARAMID_ON_EACH_DRIVER(crowd);

/// 64 bytes there and back. Returns: whether they are the same.
bool exchange(tcp_stream& client, tcp_stream& server, std::uint64_t seed) {
  const auto sent = pattern(64, seed);
  std::array<std::byte, 64> there, back;
  client.write_all(sent);
  server.read_exactly(there);
  server.write_all(there);
  client.read_exactly(back);
  return std::ranges::equal(sent, back);
}

// A fiber keeps its worker, and then sleeps: the other connections are all with another worker then, whom the sleeper's own gives it to. So do
// the drivers' completions, if their worker sleeps too.
TEST_P(crowd, fibers_are_given_away_and_none_is_lost) {
  run_crowded([] {
    constexpr std::uint64_t wanted = 4;
    with_task_group([](task_group& group) {
      for (std::uint64_t i = 0; i < 16; ++i) {
        group.spawn([i] {
          auto [client, server] = make_tcp_pair();
          for (std::uint64_t round = 0; round < 50 || given() < wanted; ++round) {
            ASSERT_TRUE(exchange(client, server, 1000 * i + round));
          }
        });
      }
      group.spawn([] {
        while (given() < wanted && !::testing::Test::HasFailure()) {
          const auto until = clock::now() + 5ms;
          while (clock::now() < until) {
          }
          this_fiber::sleep_for(100us);
        }
      });
    });
  });
}

// What waits behind a fiber that keeps its worker, woken or given, runs all the same: the hog ends only when they have all run.
TEST_P(crowd, whoever_waits_behind_a_hog_is_taken_over) {
  run_crowded([] {
    constexpr int hogs = 3;
    for (int turn = 0; turn < hogs; ++turn) {
      std::atomic<int> ended{0};
      with_task_group([&](task_group& group) {
        constexpr int connections = 8;
        for (std::uint64_t i = 0; i < connections; ++i) {
          group.spawn([&, i] {
            auto [client, server] = make_tcp_pair();
            for (std::uint64_t round = 0; round < 10; ++round) {
              ASSERT_TRUE(exchange(client, server, 1000 * i + round));
            }
            ++ended;
          });
        }
        group.spawn([&] {
          this_fiber::sleep_for(100us);
          while (ended != connections && !::testing::Test::HasFailure()) {
          }
        });
      });
    }
  });
}

// Law 2, while fibers go from worker to worker.
TEST_P(crowd, cancellation_loses_no_byte) {
  run_crowded([] {
    with_task_group([](task_group& group) {
      const auto total = static_cast<std::size_t>(aramid::test::scaled(5'000, 200));
      for (unsigned i = 0; i < 8; ++i) {
        group.spawn([i, total] {
          auto [client, server] = make_tcp_pair();
          client.no_delay(true);
          counting_semaphore<> cut_short(0);
          fiber<> writing = spawn([&, &client = client] {
            aramid::test::write_between_cuts(total, cut_short, [&](std::size_t from, std::size_t size) { client.write_all(pattern(size, from)); });
            client.shutdown(shutdown_how::write);
          });
          std::mt19937 random(i);
          std::size_t got = 0;
          for (bool ended = false; !ended;) {
            aramid::test::cancel_soon(random, [&, &server = server] {
              std::array<std::byte, 40> buffer;
              std::size_t count = 0;
              try {
                count = server.read_some(buffer);
                ended = count == 0;
              } catch (const cancelled&) {
                cut_short.release();
              }
              ASSERT_TRUE(std::ranges::equal(std::span(buffer).first(count), pattern(count, got)));
              got += count;
            });
            if (::testing::Test::HasFatalFailure()) {
              return;  // the writer may wait for ever; its handle cancels it
            }
          }
          writing.join();
          EXPECT_EQ(got, total);
        });
      }
    });
  });
}

}  // namespace
