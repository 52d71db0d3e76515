// Several parts in one write (io/src/stream_vector.cpp): every byte once, in its place, and counted. Reads: tcp_vector_read_test.cpp.
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <aramid/blocking.hpp>
#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/timeout.hpp>

#include "leak_check.hpp"
#include "parts.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/scale.hpp"
#include "waiting.hpp"

namespace {

using namespace aramid;
using namespace aramid::io;
using aramid::test::loopback;
using aramid::test::bytes_of;
using aramid::test::cut;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;
using aramid::test::piece;
using aramid::test::raw_socket;
using aramid::test::read_pattern;
using aramid::test::read_text;
using aramid::test::scaled;
using aramid::test::until_waiting_in;

class tcp_vector : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp_vector);

TEST_P(tcp_vector, parts_arrive_in_their_order) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.write_all({bytes_of("head"), {}, bytes_of("er, "), bytes_of("body")});
    const std::vector<piece> list{bytes_of(" and "), bytes_of("more")};
    std::error_code ec = std::make_error_code(std::errc::io_error);
    EXPECT_EQ(client.write_all(list, ec), 9U);
    EXPECT_FALSE(ec);
    std::size_t written = 0;
    client.write_all({bytes_of("!"), bytes_of("?")}, written);
    EXPECT_EQ(written, 2U);
    client.write_all({bytes_of("."), bytes_of(".")}, written, ec);
    EXPECT_EQ(written, 2U);
    EXPECT_EQ(client.write_all({bytes_of("1"), bytes_of("2")}, ec), 2U);
    // Some is what may be cut short.
    std::string expected = "header, body and more!?..12";
    expected += std::string_view("34").substr(0, client.write_some({bytes_of("3"), bytes_of("4")}));
    expected += std::string_view(" and more").substr(0, client.write_some(list, ec));
    EXPECT_FALSE(ec);
    client.close();
    EXPECT_EQ(read_text(server, expected.size() + 1), expected);
  });
}

TEST_P(tcp_vector, nothing_is_written_where_there_is_nothing) {
  run([] {
    auto [client, server] = make_tcp_pair();
    std::size_t written = 7;
    std::error_code ec = std::make_error_code(std::errc::io_error);
    client.write_all(const_parts(), written, ec);
    EXPECT_EQ(written, 0U);
    EXPECT_FALSE(ec);
    const std::vector<piece> empty(100);
    EXPECT_EQ(client.write_all(empty, ec), 0U);
    EXPECT_EQ(client.write_some(empty), 0U);
    const std::vector<std::span<std::byte>> nowhere(100);
    client.write_all("x");
    EXPECT_EQ(server.read_some(nowhere), 0U);
    EXPECT_EQ(server.read_some(mutable_parts(), ec), 0U);
    std::array<char, 2> buffer;
    EXPECT_EQ(server.read_some(buffer), 1U) << "the byte is still there, and the only one";
  });
}

TEST_P(tcp_vector, more_parts_than_the_kernel_takes_at_once) {
  run([] {
    auto [client, server] = make_tcp_pair();
    std::mt19937 random(1);
    const auto data = pattern(20'000);
    const auto parts = cut(data, 3, random);
    ASSERT_GT(parts.size(), 8'000U);
    fiber<> writing = spawn([&, &client = client] {
      client.write_all(parts);
      client.shutdown(shutdown_how::write);
    });
    EXPECT_EQ(read_pattern(server), data.size());
    writing.join();
  });
}

TEST_P(tcp_vector, random_cuts_through_narrow_buffers) {
  run([] {
    std::mt19937 random(2);
    for (int round = 0; round < scaled(12, 3); ++round) {
      auto [client, server] = make_tcp_pair();
      // Not too narrow for the receiver: below a few segments TCP waits for its timers.
      client.send_buffer_size(4096U << (random() % 6));
      server.receive_buffer_size(65'536U << (random() % 3));
      const auto data = pattern(random() % (std::size_t{1} << 20));
      const auto parts = cut(data, std::size_t{1} << (random() % 19), random);
      std::size_t written = 0;
      fiber<> writing = spawn([&, &client = client] {
        client.write_all(parts, written);
        client.shutdown(shutdown_how::write);
      });
      ASSERT_EQ(read_pattern(server), data.size());
      writing.join();
      EXPECT_EQ(written, data.size());
    }
  });
}

/// What is left of `parts` behind their first `bytes`.
std::vector<piece> rest_of(std::vector<piece> parts, std::size_t bytes) {
  for (piece& each : parts) {
    const std::size_t here = std::min(bytes, each.size());
    each = each.subspan(here);
    bytes -= here;
  }
  return parts;
}

// A write that is cut short again and again, at any byte, and goes on behind its count each time.
TEST_P(tcp_vector, cancelled_writes_go_on_where_they_say_they_stopped) {
  run([] {
    std::mt19937 random(3);
    std::size_t cancellations = 0;
    for (int round = 0; round < scaled(8, 2) || cancellations == 0; ++round) {
      auto [client, server] = make_tcp_pair();
      client.send_buffer_size(8192);
      server.receive_buffer_size(65'536);
      const auto data = pattern(300'000 + random() % 100'000);
      std::vector<piece> parts = cut(data, 5'000, random);
      fiber<std::size_t> reading = spawn([&, &server = server] { return read_pattern(server); });
      for (bool done = false; !done;) {
        std::size_t written = 0;
        std::size_t some = 0;
        done = try_with_timeout(std::chrono::microseconds(random() % 200), [&] {
          if (random() % 3 == 0) {
            some = client.write_some(parts);
            parts = rest_of(std::move(parts), std::exchange(some, 0));
          }
          client.write_all(parts, written);
        });
        cancellations += done ? 0U : 1U;
        parts = rest_of(std::move(parts), written);
      }
      client.shutdown(shutdown_how::write);
      ASSERT_EQ(reading.join(), data.size());
    }
  });
}

TEST_P(tcp_vector, cancelled_write_reports_its_count) {
  run([] {
    auto [client, server] = make_tcp_pair();
    std::mt19937 random(4);
    const auto data = pattern(std::size_t{16} << 20);
    const auto parts = cut(data, 400'000, random);
    std::size_t written = 0;
    fiber<> writing = spawn([&, &client = client] { client.write_all(parts, written); });
    std::vector<std::byte> first(100'000);
    server.read_exactly(first);  // it is in the middle
    writing.cancel();
    EXPECT_THROW(writing.join(), fiber_cancelled);
    ASSERT_GE(written, first.size());
    ASSERT_LT(written, data.size());
    EXPECT_TRUE(std::equal(first.begin(), first.end(), data.begin()));
    client.shutdown(shutdown_how::write);
    EXPECT_EQ(first.size() + read_pattern(server, first.size()), written);
  });
}

TEST_P(tcp_vector, reset_in_the_middle_reports_its_count_and_raises_no_signal) {
  run([] {
    tcp_listener listener(loopback);
    raw_socket peer(listener.local_endpoint());
    tcp_stream stream = listener.accept();
    const std::vector<std::byte> data(std::size_t{16} << 20);
    const std::array parts{piece(data).first(1'000'000), piece(data).subspan(1'000'000)};
    std::size_t written = data.size();
    fiber<> writing = spawn([&] {
      try {
        stream.write_all(parts, written);
        ADD_FAILURE();
      } catch (const write_error& e) {
        EXPECT_TRUE(e.code() == std::errc::connection_reset || e.code() == std::errc::broken_pipe) << e.what();
        EXPECT_NE(std::string(e.what()).find("tcp_stream::write_all"), std::string::npos) << e.what();
        EXPECT_EQ(e.bytes_written(), written);
      }
    });
    peer.wait_for_bytes();  // until it is in the middle
    peer.reset();
    writing.join();
    EXPECT_GT(written, 0U);
    EXPECT_LT(written, data.size());
    std::error_code ec;
    EXPECT_EQ(stream.write_all(parts, ec), 0U);
    EXPECT_EQ(ec, std::errc::broken_pipe);
    EXPECT_EQ(stream.write_some(parts, ec), 0U);
    EXPECT_EQ(ec, std::errc::broken_pipe);
  });
}

TEST_P(tcp_vector, cancellation_is_seen_on_entry_before_any_effect) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.write_all("abc");
    std::array<std::byte, 2> a;
    std::array<std::byte, 2> b;
    const auto throws = [](auto&& call) {
      cancel_scope scope;
      scope.cancel();
      EXPECT_FALSE(scope.run(call));
    };
    std::error_code ec;
    std::size_t written = 5;
    throws([&] { server.read_some({a, b}); });
    throws([&] { server.read_some(mutable_parts(), ec); });
    throws([&] { server.write_all({bytes_of("lo"), bytes_of("st")}, written); });
    EXPECT_EQ(written, 0U);
    throws([&] { server.write_all(const_parts(), ec); });
    throws([&] { server.write_some({bytes_of("lo"), bytes_of("st")}, ec); });
    throws([&] { tcp_stream().write_all({bytes_of("lo"), bytes_of("st")}, ec); });
    EXPECT_EQ(read_text(server, 3), "abc");
    server.close();
    EXPECT_EQ(client.read_some(a), 0U);
  });
}

TEST_P(tcp_vector, of_closed_streams_and_beside_another_writer) {
  run([] {
    tcp_stream none;
    std::error_code ec;
    std::array<std::byte, 1> a;
    std::array<std::byte, 1> b;
    EXPECT_EQ(none.read_some({a, b}, ec), 0U);
    EXPECT_EQ(ec, errc::closed);
    EXPECT_EQ(none.write_all({a, b}, ec), 0U);
    EXPECT_EQ(ec, errc::closed);
    EXPECT_EQ(none.write_some({a, b}, ec), 0U);
    EXPECT_EQ(ec, errc::closed);
    EXPECT_THROW(none.write_all({a, b}), write_error);

    auto [client, server] = make_tcp_pair();
    const std::vector<std::byte> data(std::size_t{16} << 20);
    const std::array parts{piece(data), piece(data)};
    fiber<> writing = spawn([&, &client = client] { EXPECT_THROW(client.write_all(parts), write_error); });
    server.read_exactly(a);  // it is at work
    EXPECT_THROW(client.write_all({a, b}), std::logic_error);
    EXPECT_THROW(client.write_some({a, b}, ec), std::logic_error);
    fiber<> reading = spawn([&, &client = client] {
      std::error_code closed;
      EXPECT_EQ(client.read_some({a, b}, closed), 0U);
      EXPECT_EQ(closed, errc::closed);
    });
    until_waiting_in("tcp_stream::read_some");
    client.close();
    writing.join();
    reading.join();
  });
}

TEST_P(tcp_vector, descriptors_that_do_not_block_and_plain_threads) {
  run([] {
    std::array<int, 2> fds{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()), 0);
    tcp_stream a = tcp_stream::adopt(fds[0]);
    tcp_stream b = tcp_stream::adopt(fds[1]);
    std::mt19937 random(7);
    const auto data = pattern(std::size_t{1} << 20);
    const auto parts = cut(data, 100'000, random);
    std::thread writing([&] {
      a.write_all(parts);
      a.shutdown(shutdown_how::write);
    });
    std::vector<std::byte> got(data.size());
    std::size_t at = 0;
    while (const std::size_t n = b.read_some({std::span(got).subspan(at, (got.size() - at) / 3), std::span(got).subspan(at + (got.size() - at) / 3)})) {
      at += n;
    }
    EXPECT_EQ(at, data.size());
    EXPECT_TRUE(got == data);
    blocking([&] { writing.join(); });  // the thread's last write needs this worker
  });
}

}  // namespace
