// Whole programs on rings that are far too small, and on ones whose peers cannot cancel: full
// queues and overflow are the rule here and not the exception.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <memory>
#include <vector>

#include <aramid/driver.hpp>
#include <aramid/fiber.hpp>
#include <aramid/io/file.hpp>
#include <aramid/io/tcp.hpp>
#include <aramid/run.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "io/src/uring/uring_driver.hpp"
#include "leak_check.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/scale.hpp"
#include "waiting.hpp"

namespace {

using namespace aramid;
using namespace aramid::io;
using aramid::detail::uring_driver;
using aramid::detail::uring_options;
using aramid::test::loopback;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;
using aramid::test::pattern_at;
using aramid::test::until_waiting_in;

const uring_driver* a_tiny_one = nullptr;  // of the runtime that runs, and lives as long

std::vector<std::unique_ptr<driver>> make_tiny(unsigned count, std::string_view) {
  std::vector<std::unique_ptr<driver>> made;
  for (unsigned i = 0; i != count; ++i) {
    auto each = std::make_unique<uring_driver>(
        uring_options{.sizes = {.submissions = 2, .completions = 8}, .peers_cancel = false});
    a_tiny_one = each.get();
    made.push_back(std::move(each));
  }
  return made;
}

// "CQ overflow, EBUSY on submit" (silk#81, liburing#705)
class small_rings : public aramid::test::on_each_driver {
protected:
  /// The first to ask chooses the drivers.
  template <class Fn>
  void run_small(Fn fn) {
    run([&] {
      ASSERT_NE(aramid::detail::driver_for_io(&make_tiny), nullptr);
      fn();
    });
  }
};
ARAMID_ON_IO_URING(small_rings);

void echo(tcp_stream stream) {
  std::array<std::byte, 512> buffer;
  while (const std::size_t n = stream.read_some(buffer)) {
    stream.write_all(std::span(buffer).first(n));
  }
}

TEST_P(small_rings, many_connections_echo) {
  run_small([] {
    constexpr int connections = 64;
    tcp_listener listener(loopback);
    fiber<> serving = spawn([&] {
      with_task_group([&](task_group& group) {
        for (int i = 0; i < connections; ++i) {
          group.spawn([stream = listener.accept()]() mutable { echo(std::move(stream)); });
        }
      });
    });
    with_task_group([&](task_group& group) {
      for (int i = 0; i < connections; ++i) {
        group.spawn([i, where = listener.local_endpoint()] {
          tcp_stream stream = connect(where);
          for (int round = 0; round < 30; ++round) {
            const auto data = pattern(100, static_cast<std::uint64_t>(1000 * i + round));
            stream.write_all(data);
            std::vector<std::byte> back(data.size());
            stream.read_exactly(back);
            ASSERT_TRUE(back == data);
          }
        });
      }
    });
    serving.join();
    if (stats().workers == 1) {  // otherwise each may have had few enough, though it is not likely
      EXPECT_GT(a_tiny_one->times_full(), 0U);
    }
  });
}

TEST_P(small_rings, all_reads_complete_at_once) {
  run_small([] {
    constexpr std::size_t connections = 100;
    std::vector<aramid::test::tcp_pair> pairs;
    for (std::size_t i = 0; i < connections; ++i) {
      pairs.push_back(make_tcp_pair());
    }
    with_task_group([&](task_group& group) {
      for (auto& pair : pairs) {
        group.spawn([&pair] {
          std::array<char, 1> buffer;
          pair.server.read_exactly(buffer);
          EXPECT_EQ(buffer[0], 'x');
        });
      }
      until_waiting_in("tcp_stream::read_exactly", connections);
      // By plain system calls, so that nothing is reaped in between.
      for (auto& pair : pairs) {
        ASSERT_EQ(::send(pair.client.native_handle(), "x", 1, MSG_NOSIGNAL), 1);
      }
    });
    if (stats().workers == 1) {
      EXPECT_GT(a_tiny_one->times_overflown(), 0U);
    }
  });
}

TEST_P(small_rings, cancel_versus_complete) {
  run_small([] {
    const auto per_connection = static_cast<std::size_t>(aramid::test::scaled(1'000, 100));
    with_task_group([&](task_group& group) {
      for (std::size_t c = 0; c < 16; ++c) {
        group.spawn([per_connection] {
          auto [client, server] = make_tcp_pair();
          client.no_delay(true);
          fiber<> writing = spawn([&, &client = client] {
            for (std::size_t sent = 0; sent < per_connection; ++sent) {
              client.write_all(pattern(1, sent));
            }
            client.shutdown(shutdown_how::write);
          });
          std::size_t got = 0;
          std::uint64_t round = 0;
          for (bool ended = false; !ended; ++round) {
            std::array<std::byte, 2> buffer;
            std::size_t n = 0;
            const bool done = try_with_timeout(std::chrono::microseconds(round * 13 % 150),
                                               [&] { n = server.read_some(buffer); });
            ended = done && n == 0;
            for (std::size_t i = 0; i < n; ++i) {
              ASSERT_EQ(buffer[i], pattern_at(got + i));
            }
            got += n;
          }
          EXPECT_EQ(got, per_connection);
          writing.join();
        });
      }
    });
  });
}

TEST_P(small_rings, runtime_ends_with_operations_in_flight) {
  run_small([] {
    static constexpr int fibers = 50;
    auto pairs = std::make_unique<std::vector<aramid::test::tcp_pair>>();
    for (int i = 0; i < fibers; ++i) {
      pairs->push_back(make_tcp_pair());
    }
    std::vector<fiber<>> reading;
    for (auto& pair : *pairs) {
      reading.push_back(spawn([&pair] {
        std::array<char, 1> buffer;
        pair.server.read_exactly(buffer);
      }));
    }
    until_waiting_in("tcp_stream::read_exactly", fibers);
    // Cancelled and joined by their handles.
  });
}

}  // namespace
