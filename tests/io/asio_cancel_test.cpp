// Cancellation and deadlines in the middle of Asio's own functions over an asio_stream: what is left, and where.
#include <aramid/io/asio.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <random>
#include <string_view>
#include <vector>

#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>

#include <aramid/cancel.hpp>
#include <aramid/semaphore.hpp>
#include <aramid/timeout.hpp>

#include "asio_fixture.hpp"
#include "cut_short.hpp"
#include "tests/runtime/scale.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::make_asio_pair;
using aramid::test::pattern;
using aramid::test::pattern_at;
using aramid::test::scaled;
using aramid::test::text_of;
namespace asio = boost::asio;
using boost::system::error_code;

class asio_cancel : public aramid::test::with_asio {};
ARAMID_ON_EACH_DRIVER(asio_cancel);

TEST_P(asio_cancel, cancellation_is_seen_on_entry_before_any_effect_in_both_forms) {
  run([] {
    auto [client, server] = make_asio_pair();
    asio::write(client, asio::buffer("abc", 3));
    std::array<char, 8> buffer;
    error_code ec;
    const auto throws = [](auto&& call) {
      cancel_scope scope;
      scope.cancel();
      EXPECT_FALSE(scope.run(call));
    };
    throws([&, &server = server] { server.read_some(asio::buffer(buffer)); });
    throws([&, &server = server] { server.read_some(asio::buffer(buffer), ec); });
    throws([&, &server = server] { server.read_some(asio::mutable_buffer(), ec); });
    throws([&, &server = server] { asio::read(server, asio::buffer(buffer), ec); });
    throws([&, &server = server] { server.write_some(asio::buffer("lost", 4)); });
    throws([&, &server = server] { asio::write(server, asio::buffer("lost", 4), ec); });
    EXPECT_EQ(server.bytes_written(), 0U);
    EXPECT_EQ(asio::read(server, asio::buffer(buffer, 3)), 3U);
    server.close();
    EXPECT_EQ(client.read_some(asio::buffer(buffer), ec), 0U);
    EXPECT_EQ(ec, asio::error::eof);
  });
}

TEST_P(asio_cancel, a_cut_short_read_until_leaves_what_it_got_in_the_buffer) {
  run([] {
    auto [client, server] = make_asio_pair();
    asio::streambuf buffer;
    asio::streambuf other;
    const auto until_newline = [&server = server](asio::streambuf& into) {
      return try_with_timeout(1ms, [&] { return asio::read_until(server, into, '\n'); });
    };
    asio::write(client, asio::buffer("ab", 2));
    // It may be cut before it has got anything, but not for ever.
    while (buffer.size() < 2) {
      EXPECT_FALSE(until_newline(buffer));
    }
    EXPECT_EQ(text_of(buffer), "ab");
    EXPECT_FALSE(until_newline(buffer));
    EXPECT_EQ(text_of(buffer), "ab");
    asio::write(client, asio::buffer("c\nd", 3));
    EXPECT_EQ(asio::read_until(server, buffer, '\n'), 4U);
    EXPECT_EQ(text_of(buffer).substr(0, 4), "abc\n");
    EXPECT_EQ(server.bytes_read(), buffer.size());
    while (server.bytes_read() < 5) {
      EXPECT_FALSE(until_newline(other));
    }
    EXPECT_EQ(buffer.size() + other.size(), 5U);
  });
}

// As tcp_cancel's: a reader is cancelled all the time at about the moment at which data arrive, here in the middle of Asio's code. Every
// byte gets into the buffer once, in order.
TEST_P(asio_cancel, cancel_versus_complete_neither_loses_nor_doubles_a_byte) {
  run([] {
    auto [client, server] = make_asio_pair();
    client.next_layer().no_delay(true);
    const auto total = static_cast<std::size_t>(scaled(20'000, 1'000));
    counting_semaphore<> cut_short(0);
    fiber<> writing = spawn([&, &client = client] {
      aramid::test::write_between_cuts(total, cut_short, [&](std::size_t from, std::size_t size) {
        asio::write(client, asio::buffer(pattern(size, from)));
      });
      client.next_layer().shutdown(shutdown_how::write);
    });

    asio::streambuf buffer;
    error_code ec;
    std::mt19937 random(2);
    while (ec != asio::error::eof) {
      aramid::test::cancel_soon(random, [&, &server = server] {
        try {
          asio::read(server, buffer, asio::transfer_at_least(7), ec);
        } catch (const cancelled&) {
          cut_short.release();
        }
      });
    }
    writing.join();
    ASSERT_EQ(buffer.size(), total);
    EXPECT_EQ(server.bytes_read(), total);
    const auto* const bytes = static_cast<const std::byte*>(buffer.data().data());
    for (std::size_t i = 0; i < total; ++i) {
      ASSERT_EQ(bytes[i], pattern_at(i));
    }
  });
}

TEST_P(asio_cancel, the_counts_say_how_far_a_cut_short_call_came) {
  run([] {
    auto [client, server] = make_asio_pair();
    const auto data = pattern(std::size_t{16} << 20);
    EXPECT_FALSE(try_with_timeout(20ms, [&, &client = client] { asio::write(client, asio::buffer(data)); }));
    ASSERT_GT(client.bytes_written(), 0U);
    ASSERT_LT(client.bytes_written(), data.size());
    client.next_layer().shutdown(shutdown_how::write);

    // The reader's buffer is larger than what comes, and it is cut short as well.
    std::vector<std::byte> buffer(data.size());
    std::uint64_t before = 0;
    error_code ec;
    while (ec != asio::error::eof) {
      (void)try_with_timeout(1ms, [&, &server = server] {
        asio::read(server, asio::buffer(buffer) + server.bytes_read(), ec);
      });
      EXPECT_GE(server.bytes_read(), before);
      before = server.bytes_read();
    }
    ASSERT_EQ(server.bytes_read(), client.bytes_written());
    EXPECT_TRUE(std::equal(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(before), data.begin()));
  });
}

}  // namespace
