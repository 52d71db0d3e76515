// Closing while others use it (io/src/descriptor.hpp).
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/timeout.hpp>

#include "leak_check.hpp"
#include "tcp_pair.hpp"
#include "waiting.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::loopback;
using aramid::test::make_tcp_pair;
using aramid::test::until_waiting_in;

class tcp_close : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp_close);

TEST_P(tcp_close, wakes_reader_and_writer) {
  run([] {
    auto [client, server] = make_tcp_pair();
    std::error_code read_error;
    std::error_code write_error;
    std::size_t written = 0;
    const std::vector<std::byte> data(std::size_t{16} << 20);
    fiber<> reading = spawn([&] {
      std::array<std::byte, 8> buffer;
      EXPECT_EQ(server.read_some(buffer, read_error), 0U);
    });
    fiber<> writing = spawn([&] { written = server.write_all(data, write_error); });
    std::array<std::byte, 1> first;
    client.read_exactly(first);  // the writer is at work
    until_waiting_in("tcp_stream::write_all");
    until_waiting_in("tcp_stream::read_some");
    server.close();
    EXPECT_FALSE(server.is_open());
    reading.join();
    writing.join();
    EXPECT_EQ(read_error, errc::closed);
    EXPECT_EQ(write_error, errc::closed);
    EXPECT_EQ(write_error, std::errc::operation_canceled);
    EXPECT_GT(written, 0U);
    EXPECT_LT(written, data.size());
    server.close();
    std::array<std::byte, 8> buffer;
    EXPECT_EQ(server.read_some(buffer, read_error), 0U);
    EXPECT_EQ(read_error, errc::closed);
  });
}

TEST_P(tcp_close, wakes_all_acceptors) {
  run([] {
    tcp_listener listener(loopback);
    std::vector<fiber<>> accepting;
    std::atomic<int> woken{0};
    for (int i = 0; i < 3; ++i) {
      accepting.push_back(spawn([&] {
        std::error_code ec;
        EXPECT_FALSE(listener.accept(ec).is_open());
        EXPECT_EQ(ec, errc::closed);
        ++woken;
      }));
    }
    until_waiting_in("tcp_listener::accept", 3);
    listener.close();
    for (fiber<>& one : accepting) {
      one.join();
    }
    EXPECT_EQ(woken, 3);
    EXPECT_FALSE(listener.is_open());
  });
}

TEST_P(tcp_close, sends_the_peer_an_end_of_stream_though_a_read_is_pending) {
  run([] {
    auto [client, server] = make_tcp_pair();
    fiber<> reading = spawn([&] {
      std::array<std::byte, 8> buffer;
      std::error_code ec;
      server.read_some(buffer, ec);
    });
    until_waiting_in("tcp_stream::read_some");
    server.close();
    std::array<std::byte, 8> buffer;
    EXPECT_EQ(client.read_some(buffer), 0U);
    reading.join();
  });
}

TEST_P(tcp_close, is_shielded_from_cancellation) {
  run([] {
    auto [client, server] = make_tcp_pair();
    fiber<> reading = spawn([&] {
      std::array<std::byte, 8> buffer;
      std::error_code ec;
      server.read_some(buffer, ec);
      EXPECT_EQ(ec, errc::closed);
    });
    until_waiting_in("tcp_stream::read_some");
    {
      cancel_scope scope;
      scope.cancel();
      server.close();
      EXPECT_FALSE(server.is_open());
      EXPECT_FALSE(scope.run([] { this_fiber::checkpoint(); }));
    }
    reading.join();
  });
}

TEST_P(tcp_close, from_a_plain_thread) {
  run([] {
    auto [client, server] = make_tcp_pair();
    std::error_code ec;
    std::thread closer([&, &server = server] {
      std::this_thread::sleep_for(5ms);
      server.close();
    });
    std::array<std::byte, 8> buffer;
    EXPECT_EQ(server.read_some(buffer, ec), 0U);
    EXPECT_EQ(ec, errc::closed);
    closer.join();
  });
}

TEST_P(tcp_close, release_is_refused_while_somebody_reads) {
  run([] {
    auto [client, server] = make_tcp_pair();
    fiber<> reading = spawn([&] {
      std::array<std::byte, 8> buffer;
      EXPECT_EQ(server.read_some(buffer), 1U);
    });
    until_waiting_in("tcp_stream::read_some");
    EXPECT_THROW((void)server.release(), std::logic_error);
    EXPECT_TRUE(server.is_open());
    client.write_all("x");
    reading.join();
  });
}

// The number of a closed stream is taken at once by the next connection. A receive that is in
// flight at the close must not read the newcomer's bytes.
// "fd reuse misdirects" (liburing#363)
TEST_P(tcp_close, reused_number_is_never_read_by_the_old_streams_reader) {
  run([] {
    tcp_listener listener(loopback);
    int reused = 0;
    for (int i = 0; reused < 300; ++i) {
      tcp_stream client = connect(listener.local_endpoint());
      tcp_stream server = listener.accept();
      const int number = server.native_handle();
      std::array<char, 8> stolen{};
      std::error_code ec;
      std::size_t got = 0;
      fiber<> reading = spawn([&] { got = server.read_some(stolen, ec); });
      if (i % 3 != 0) {
        this_fiber::yield();
      }
      server.close();
      tcp_stream other_client = connect(listener.local_endpoint());
      tcp_stream other_server = listener.accept();
      reused +=
          other_client.native_handle() == number || other_server.native_handle() == number ? 1 : 0;
      other_client.write_all("secret");
      other_server.write_all("public");
      reading.join();
      ASSERT_EQ(got, 0U);
      ASSERT_EQ(ec, errc::closed);
      std::array<char, 6> buffer;
      other_server.read_exactly(buffer);
      ASSERT_EQ(std::string_view(buffer.data(), 6), "secret");
      other_client.read_exactly(buffer);
      ASSERT_EQ(std::string_view(buffer.data(), 6), "public");
    }
  });
}

TEST_P(tcp_close, streams_outlive_their_runtime_and_close_plainly) {
  auto [client, server] = run([] { return make_tcp_pair(); });
  EXPECT_TRUE(client.is_open());
  std::array<std::byte, 8> buffer;
  EXPECT_THROW(client.read_some(buffer), std::logic_error);
  client.close();
  EXPECT_FALSE(client.is_open());
  // The destructor of the other one closes it.
}

TEST_P(tcp_close, stream_of_an_ended_runtime_works_in_the_next_one) {
  auto [client, server] = run([] { return make_tcp_pair(); });
  run([&, &client = client, &server = server] {
    client.write_all("x");
    std::array<char, 1> buffer;
    server.read_exactly(buffer);
  });
}

}  // namespace
