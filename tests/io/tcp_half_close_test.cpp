// Each half of a connection ends on its own (tcp_stream::shutdown).
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

#include "leak_check.hpp"
#include "tcp_pair.hpp"
#include "waiting.hpp"

namespace {

using namespace aramid;
using namespace aramid::io;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;
using aramid::test::until_waiting_in;

class tcp_half_close : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp_half_close);

constexpr std::size_t plenty = std::size_t{4} << 20;  // more than all buffers hold

TEST_P(tcp_half_close, while_the_peer_still_sends_none_of_its_bytes_are_lost) {
  run([] {
    auto [client, server] = make_tcp_pair();
    const auto data = pattern(plenty);
    fiber<> sending = spawn([&, &server = server] {
      server.write_all(data);
      server.shutdown(shutdown_how::write);
    });
    std::vector<std::byte> got(plenty);
    client.read_exactly(std::span(got).first(1000));  // it is in the middle of it
    client.shutdown(shutdown_how::write);
    std::array<std::byte, 1> one;
    EXPECT_EQ(server.read_some(one), 0U) << "the end is seen by a peer that is busy writing";
    client.read_exactly(std::span(got).subspan(1000));
    EXPECT_TRUE(got == data);
    EXPECT_EQ(client.read_some(one), 0U);
    sending.join();
  });
}

TEST_P(tcp_half_close, comes_behind_all_that_was_written) {
  run([] {
    auto [client, server] = make_tcp_pair();
    const auto data = pattern(plenty);
    fiber<> sending = spawn([&, &client = client] {
      client.write_all(data);
      client.shutdown(shutdown_how::write);
    });
    std::vector<std::byte> got(plenty);
    server.read_exactly(got);
    EXPECT_TRUE(got == data);
    std::array<std::byte, 1> one;
    EXPECT_EQ(server.read_some(one), 0U);
    sending.join();
  });
}

TEST_P(tcp_half_close, both_sides_one_after_the_other) {
  run([] {
    auto [client, server] = make_tcp_pair();
    std::array<char, 6> buffer;
    client.write_all("ask");
    client.shutdown(shutdown_how::write);
    server.read_exactly(std::span(buffer).first(3));
    EXPECT_EQ(server.read_some(buffer), 0U);
    for (const char* word : {"answer", "second"}) {  // long after its own reads have ended
      server.write_all(word);
      client.read_exactly(buffer);
      EXPECT_EQ(std::string_view(buffer.data(), 6), word);
    }
    server.shutdown(shutdown_how::write);
    EXPECT_EQ(client.read_some(buffer), 0U);
    EXPECT_EQ(server.read_some(buffer), 0U) << "and again";
  });
}

TEST_P(tcp_half_close, writing_afterwards_is_a_broken_pipe_and_no_signal) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.shutdown(shutdown_how::write);
    std::error_code ec;
    EXPECT_EQ(client.write_all("x", ec), 0U);
    EXPECT_EQ(ec, std::errc::broken_pipe);
    EXPECT_EQ(client.write_some({std::as_bytes(std::span("x")), std::as_bytes(std::span("y"))}, ec), 0U);
    EXPECT_EQ(ec, std::errc::broken_pipe);
    server.write_all("still");
    std::array<char, 5> buffer;
    client.read_exactly(buffer);
    client.shutdown(shutdown_how::write);  // harmless twice
  });
}

TEST_P(tcp_half_close, of_writing_ends_a_writer_that_waits_and_lets_the_reader_be) {
  run([] {
    auto [client, server] = make_tcp_pair();
    const auto data = pattern(std::size_t{16} << 20);
    std::size_t written = 0;
    std::error_code ec;
    fiber<> writing = spawn([&, &client = client] { client.write_all(data, written, ec); });
    std::array<char, 2> answer;
    fiber<> reading = spawn([&, &client = client] { client.read_exactly(answer); });
    std::vector<std::byte> got(data.size());
    server.read_exactly(std::span(got).first(1));  // the writer is at work
    client.shutdown(shutdown_how::write);
    writing.join();
    EXPECT_EQ(ec, std::errc::broken_pipe);
    ASSERT_LT(written, data.size());
    std::size_t at = 1;
    while (const std::size_t n = server.read_some(std::span(got).subspan(at))) {
      at += n;
    }
    EXPECT_EQ(at, written);
    EXPECT_TRUE(std::equal(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(at), got.begin()));
    server.write_all("ok");
    reading.join();
    EXPECT_EQ(std::string_view(answer.data(), 2), "ok");
  });
}

TEST_P(tcp_half_close, of_reading_wakes_the_reader_with_the_end_and_writing_goes_on) {
  run([] {
    auto [client, server] = make_tcp_pair();
    fiber<std::size_t> reading = spawn([&, &client = client] {
      std::array<std::byte, 8> buffer;
      return client.read_some(buffer);
    });
    until_waiting_in("tcp_stream::read_some");
    client.shutdown(shutdown_how::read);
    EXPECT_EQ(reading.join(), 0U);
    client.write_all("on");
    std::array<char, 2> buffer;
    server.read_exactly(buffer);
    EXPECT_EQ(std::string_view(buffer.data(), 2), "on");
  });
}

TEST_P(tcp_half_close, from_a_thread_beside_a_reader) {
  run([] {
    auto [client, server] = make_tcp_pair();
    const auto data = pattern(plenty);
    fiber<> echoing = spawn([&, &server = server] {
      std::vector<std::byte> buffer(50'000);
      while (const std::size_t n = server.read_some(buffer)) {
        server.write_all(std::span(buffer).first(n));
      }
      server.shutdown(shutdown_how::write);
    });
    fiber<> writing = spawn([&, &client = client] { client.write_all(data); });
    std::vector<std::byte> back(plenty);
    fiber<> reading = spawn([&, &client = client] {
      client.read_exactly(back);
      std::array<std::byte, 1> one;
      EXPECT_EQ(client.read_some(one), 0U);
    });
    writing.join();
    std::thread([&, &client = client] { client.shutdown(shutdown_how::write); }).join();
    reading.join();
    EXPECT_TRUE(back == data);
    echoing.join();
  });
}

}  // namespace
