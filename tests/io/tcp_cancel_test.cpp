// Cancellation of I/O: what is read when a read is cancelled while data arrive
// (io/src/operation.hpp).
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <random>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/semaphore.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "cut_short.hpp"
#include "leak_check.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/scale.hpp"
#include "waiting.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::loopback;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;
using aramid::test::pattern_at;
using aramid::test::scaled;
using aramid::test::until_waiting_in;

class tcp_cancel : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp_cancel);

TEST_P(tcp_cancel, read_throws_and_takes_nothing) {
  run([] {
    auto [client, server] = make_tcp_pair();
    std::array<char, 8> buffer;
    fiber<> reading = spawn([&] { server.read_some(buffer); });
    until_waiting_in("tcp_stream::read_some");
    reading.cancel();
    EXPECT_THROW(reading.join(), fiber_cancelled);
    client.write_all("x");
    EXPECT_EQ(server.read_some(buffer), 1U);
  });
}

TEST_P(tcp_cancel, is_seen_on_entry_before_any_effect_in_both_forms) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.write_all("abc");
    std::array<char, 8> buffer;
    std::error_code ec;
    const auto throws = [](auto&& call) {
      cancel_scope scope;
      scope.cancel();
      EXPECT_FALSE(scope.run(call));
    };
    throws([&] { server.read_some(buffer); });
    throws([&] { server.read_some(buffer, ec); });
    throws([&] { server.read_exactly(buffer); });
    throws([&] { server.write_all("lost"); });
    throws([&] { server.write_some("lost", ec); });
    throws([&] { (void)connect(client.remote_endpoint()); });
    throws([&] { tcp_stream().read_some(buffer, ec); });
    EXPECT_EQ(aramid::test::read_text(server, 3).size(), 3U);
    server.close();
    EXPECT_EQ(client.read_some(buffer), 0U);
  });
}

TEST_P(tcp_cancel, accept_and_a_deadline) {
  run([] {
    tcp_listener listener(loopback);
    EXPECT_THROW((void)with_timeout(5ms, [&] { return listener.accept(); }), timeout_error);
    tcp_stream client = connect(listener.local_endpoint());
    EXPECT_TRUE(with_timeout(10s, [&] { return listener.accept(); }).is_open());
  });
}

TEST_P(tcp_cancel, exact_read_keeps_what_it_got_for_the_next_read) {
  run([] {
    auto [client, server] = make_tcp_pair();
    std::array<char, 8> buffer;
    client.write_all("abc");
    EXPECT_FALSE(try_with_timeout(20ms, [&] { server.read_exactly(buffer); }));
    EXPECT_FALSE(try_with_timeout(5ms, [&] { server.read_exactly(buffer); }));
    client.write_all("defgh");
    server.read_exactly(buffer);
    EXPECT_EQ(std::string_view(buffer.data(), buffer.size()), "abcdefgh");
  });
}

TEST_P(tcp_cancel, write_all_reports_its_count) {
  run([] {
    auto [client, server] = make_tcp_pair();
    const auto data = pattern(std::size_t{16} << 20);
    std::size_t written = 0;
    EXPECT_FALSE(try_with_timeout(20ms, [&] { client.write_all(data, written); }));
    ASSERT_GT(written, 0U);
    ASSERT_LT(written, data.size());
    client.shutdown(shutdown_how::write);
    std::vector<std::byte> buffer(65536);
    std::size_t got = 0;
    while (const std::size_t n = server.read_some(buffer)) {
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(buffer[i], pattern_at(got + i));
      }
      got += n;
    }
    EXPECT_EQ(got, written);
  });
}

TEST_P(tcp_cancel, connect_to_a_full_backlog_gives_up) {
  run([] {
    tcp_listener listener(loopback, {.backlog = 0});
    std::vector<tcp_stream> held;
    // One that is accepted by the kernel, one that waits; from then on SYNs are dropped.
    bool timed_out = false;
    for (int i = 0; i < 8 && !timed_out; ++i) {
      timed_out =
          !try_with_timeout(30ms, [&] { held.push_back(connect(listener.local_endpoint())); });
    }
    EXPECT_TRUE(timed_out);
  });
}

// The heart of law 2. A writer sends numbered bytes in small pieces; a reader is cancelled all the
// time, at about the moment at which data arrive; another fiber takes over where it was cut off.
// Every byte arrives once, in order. Canaries around the buffer show whether the kernel ever wrote
// to one that was not lent to it.
// "cancel CQE and target CQE arrive in any order" (man io_uring_cancelation)
TEST_P(tcp_cancel, cancel_versus_complete_neither_loses_nor_doubles_a_byte) {
  run([] {
    const auto total = static_cast<std::size_t>(scaled(60'000, 2'000));
    auto [client, server] = make_tcp_pair();
    client.no_delay(true);

    counting_semaphore<> cut_short(0);
    fiber<> writing = spawn([&] {
      aramid::test::write_between_cuts(total, cut_short, [&](std::size_t from, std::size_t size) { client.write_all(pattern(size, from)); });
      client.shutdown(shutdown_how::write);
    });

    std::size_t got = 0;
    bool ended = false;
    const auto read_once = [&] {
      std::array<std::byte, 48> area;
      area.fill(std::byte{0xa5});
      const std::span<std::byte> buffer = std::span(area).subspan(16, 16);
      std::size_t n = 0;
      try {
        n = server.read_some(buffer);
        ended = n == 0;
      } catch (const cancelled&) {
        // On the same stack, the same addresses, as the next reader.
      }
      for (std::size_t i = 0; i < area.size(); ++i) {
        if (i < 16 || i >= 16 + n) {
          ASSERT_EQ(area[i], std::byte{0xa5}) << i;
        } else {
          ASSERT_EQ(area[i], pattern_at(got + i - 16));
        }
      }
      got += n;
      if (n == 0) {
        cut_short.release();
      }
    };

    std::mt19937 random(2);
    while (!ended) {
      aramid::test::cancel_soon(random, read_once);
      if (::testing::Test::HasFatalFailure()) {
        return;  // the writer may wait for ever; its handle cancels it
      }
    }
    writing.join();
    EXPECT_EQ(got, total);
  });
}

// The same with deadlines, on many connections at once, so that fibers are stolen between
// submitting and cancelling.
TEST_P(tcp_cancel, cancel_versus_complete_on_many_connections) {
  run([] {
    constexpr std::size_t connections = 16;
    const auto per_connection = static_cast<std::size_t>(scaled(4'000, 100));
    with_task_group([&](task_group& group) {
      for (std::size_t c = 0; c < connections; ++c) {
        group.spawn([per_connection, c] {
          auto [client, server] = make_tcp_pair();
          client.no_delay(true);
          fiber<> writing = spawn([&, &client = client] {
            for (std::size_t sent = 0; sent < per_connection; ++sent) {
              client.write_all(pattern(1, sent));
              if ((sent + c) % 7 == 0) {
                this_fiber::sleep_for(20us);
              }
            }
            client.shutdown(shutdown_how::write);
          });
          std::size_t got = 0;
          std::uint64_t round = 0;
          for (bool ended = false; !ended; ++round) {
            std::array<std::byte, 8> buffer;
            std::size_t n = 0;
            const bool done = try_with_timeout(std::chrono::microseconds(round * 13 % 120),
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

TEST_P(tcp_cancel, cancelled_accepts_lose_no_connection) {
  run([] {
    const int connections = scaled(400, 40);
    tcp_listener listener(loopback);
    fiber<> connecting = spawn([&] {
      for (int i = 0; i < connections; ++i) {
        tcp_stream client = connect(listener.local_endpoint());
        std::array<char, 1> buffer;
        client.read_exactly(buffer);  // only an accepted one is answered
      }
    });
    int accepted = 0;
    std::uint64_t round = 0;
    while (accepted < connections) {
      tcp_stream stream;
      (void)try_with_timeout(std::chrono::microseconds(round++ * 17 % 150),
                             [&] { stream = listener.accept(); });
      if (stream.is_open()) {
        ++accepted;
        stream.write_all("x");
      }
    }
    connecting.join();
  });
}

}  // namespace
