// Several buffers in one read (io/src/stream_vector.cpp): each byte in its place, none lost to a cancellation.
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <random>
#include <string_view>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/timeout.hpp>

#include "leak_check.hpp"
#include "parts.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/scale.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::cut;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;
using aramid::test::pattern_at;
using aramid::test::piece;
using aramid::test::read_pattern;
using aramid::test::read_text;
using aramid::test::scaled;

class tcp_vector_read : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp_vector_read);

TEST_P(tcp_vector_read, a_read_fills_each_buffer_before_the_next) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.write_all("abcdefg");
    std::array<std::byte, 1> have;
    server.read_exactly(have);
    // The buffers are between bytes that must stay.
    std::array<char, 16> area;
    area.fill('-');
    const auto at = [&](std::size_t place, std::size_t size) { return std::as_writable_bytes(std::span(area).subspan(place, size)); };
    const std::size_t count = server.read_some({at(1, 2), at(0, 0), at(4, 1), at(6, 8)});
    std::string expected(16, '-');
    constexpr std::array<std::size_t, 6> places{1, 2, 4, 6, 7, 8};
    ASSERT_LE(count, places.size());
    for (std::size_t i = 0; i != count; ++i) {
      expected[places[i]] = static_cast<char>('b' + i);
    }
    EXPECT_EQ(std::string_view(area.data(), area.size()), expected);
    EXPECT_EQ(read_text(server, places.size() - count), std::string("bcdefg").substr(count));
    client.write_all("hi");
    std::error_code ec = std::make_error_code(std::errc::io_error);
    EXPECT_EQ(server.read_some({at(0, 0), at(15, 1)}, ec), 1U);
    EXPECT_EQ(server.read_some({at(0, 1), at(3, 1)}, ec), 1U);
    expected[15] = 'h';
    expected[0] = 'i';
    EXPECT_EQ(std::string_view(area.data(), area.size()), expected);
    client.close();
    EXPECT_EQ(server.read_some({at(0, 1), at(3, 1)}, ec), 0U);
    EXPECT_FALSE(ec);
  });
}

TEST_P(tcp_vector_read, bytes_that_a_failed_exact_read_left_come_first) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.write_all("abcde");
    client.close();
    std::array<char, 8> buffer;
    std::error_code ec;
    server.read_exactly(buffer, ec);
    EXPECT_EQ(ec, errc::end_of_stream);
    std::array<std::byte, 2> first;
    std::array<std::byte, 1> second;
    EXPECT_EQ(server.read_some({first, second}), 3U);
    EXPECT_EQ(first[0], std::byte{'a'});
    EXPECT_EQ(second[0], std::byte{'c'});
    EXPECT_EQ(server.read_some({first, second}), 2U);
    EXPECT_EQ(first[1], std::byte{'e'});
    EXPECT_EQ(server.read_some({first, second}), 0U);
  });
}

// Cut short again and again, at any byte: nothing is taken until all is there.
TEST_P(tcp_vector_read, cancelled_exact_reads_take_all_or_nothing) {
  run([] {
    auto [client, server] = make_tcp_pair();
    std::mt19937 random(8);
    const auto data = pattern(200'000);
    client.write_all(std::span(data).first(1'000));
    std::vector<std::byte> much(2'000);
    EXPECT_FALSE(try_with_timeout(1ms, [&] { server.read_exactly({std::span(much).first(700), std::span(much).subspan(700)}); }));
    fiber<> writing = spawn([&, &client = client] {
      std::mt19937 sizes(9);
      for (const piece each : cut(std::span(data).subspan(1'000), 3'000, sizes)) {
        client.write_all(each);
        this_fiber::sleep_for(std::chrono::microseconds(sizes() % 40));
      }
      client.shutdown(shutdown_how::write);
    });
    std::size_t at = 0;
    while (at + 9'000 <= data.size()) {
      std::vector<std::byte> got(random() % 9'000);
      std::vector<std::span<std::byte>> buffers;
      for (std::span<std::byte> rest(got); !rest.empty();) {
        const std::size_t size = std::min<std::size_t>(random() % 200, rest.size());
        buffers.push_back(rest.first(size));
        rest = rest.subspan(size);
      }
      while (!try_with_timeout(std::chrono::microseconds(random() % 100), [&] { server.read_exactly(buffers); })) {
        std::fill(got.begin(), got.end(), std::byte{});
      }
      ASSERT_TRUE(std::equal(got.begin(), got.end(), data.begin() + static_cast<std::ptrdiff_t>(at))) << at;
      at += got.size();
    }
    // More than is left: the error says so, and what there was is still there.
    std::vector<std::byte> left(10'000);
    std::error_code ec;
    server.read_exactly({std::span(left).first(9'500), std::span(left).subspan(9'500)}, ec);
    EXPECT_EQ(ec, errc::end_of_stream);
    EXPECT_EQ(at + read_pattern(server, at), data.size());
    writing.join();
    server.read_exactly(mutable_parts());
    EXPECT_THROW(server.read_exactly({std::span(left)}), std::system_error);
  });
}

// As tcp_cancel's: reads that are cancelled while bytes come, into buffers whose surroundings are watched.
TEST_P(tcp_vector_read, cancelled_reads_lose_no_byte_and_touch_nothing_else) {
  run([] {
    auto [client, server] = make_tcp_pair();
    const auto total = static_cast<std::size_t>(scaled(20'000, 1'000));
    fiber<> writing = spawn([&, &client = client] {
      std::mt19937 random(5);
      const auto data = pattern(total);
      for (const piece each : cut(data, 40, random)) {
        client.write_all(each);
        this_fiber::yield();
      }
      client.shutdown(shutdown_how::write);
    });
    std::mt19937 random(6);
    std::size_t got = 0;
    bool ended = false;
    const auto read_once = [&] {
      std::array<std::byte, 48> area;
      area.fill(std::byte{0xa5});
      const std::span all(area);
      std::size_t n = 0;
      try {
        n = server.read_some({all.subspan(8, 3), all.subspan(16, 16), all.subspan(40, 2)});
        ended = n == 0;
      } catch (const cancelled&) {
      }
      const auto place_of = [](std::size_t i) { return i < 3 ? 8 + i : i < 19 ? 13 + i : 21 + i; };
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(area[place_of(i)], pattern_at(got + i));
        area[place_of(i)] = std::byte{0xa5};
      }
      ASSERT_TRUE(std::all_of(area.begin(), area.end(), [](std::byte b) { return b == std::byte{0xa5}; }));
      got += n;
    };
    while (!ended && !HasFatalFailure()) {
      fiber<> reading = spawn(read_once);
      for (unsigned i = random() % 4; i > 0; --i) {
        this_fiber::yield();
      }
      reading.cancel();
      reading.wait();
    }
    writing.join();
    EXPECT_EQ(got, total);
  });
}

}  // namespace
