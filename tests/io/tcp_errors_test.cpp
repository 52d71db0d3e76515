// TCP when something is wrong: with the peer, the system, the caller.
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/timeout.hpp>

#include "leak_check.hpp"
#include "no_descriptors.hpp"
#include "tcp_pair.hpp"
#include "waiting.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::loopback;
using aramid::test::make_tcp_pair;
using aramid::test::no_descriptors_left;
using aramid::test::raw_socket;
using aramid::test::until_waiting_in;

class tcp_errors : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp_errors);

TEST_P(tcp_errors, reset_peer_is_connection_reset) {
  run([] {
    tcp_listener listener(loopback);
    raw_socket peer(listener.local_endpoint());
    tcp_stream stream = listener.accept();
    fiber<> reading = spawn([&] {
      std::array<std::byte, 8> buffer;
      try {
        stream.read_some(buffer);
        ADD_FAILURE();
      } catch (const std::system_error& e) {
        EXPECT_EQ(e.code(), std::errc::connection_reset);
        EXPECT_NE(std::string(e.what()).find("tcp_stream::read_some"), std::string::npos)
            << e.what();
      }
    });
    until_waiting_in("tcp_stream::read_some");
    peer.reset();
    reading.join();
  });
}

TEST_P(tcp_errors, reset_after_some_bytes_is_no_end_of_stream_for_an_exact_read) {
  run([] {
    tcp_listener listener(loopback);
    raw_socket peer(listener.local_endpoint());
    tcp_stream stream = listener.accept();
    std::error_code ec;
    fiber<> reading = spawn([&] {
      std::array<char, 8> buffer;
      stream.read_exactly(buffer, ec);
    });
    peer.write("abc");
    this_fiber::sleep_for(5ms);
    peer.reset();
    reading.join();
    EXPECT_EQ(ec, std::errc::connection_reset);
    EXPECT_EQ(aramid::test::read_text(stream, 3), "abc");
  });
}

TEST_P(tcp_errors, write_to_a_reset_peer_reports_its_count_and_raises_no_signal) {
  run([] {
    tcp_listener listener(loopback);
    raw_socket peer(listener.local_endpoint());
    tcp_stream stream = listener.accept();
    const std::vector<std::byte> data(std::size_t{16} << 20);
    fiber<> resetting = spawn([&] {
      peer.wait_for_bytes();  // until it is in the middle
      peer.reset();
    });
    std::size_t written = data.size();
    try {
      stream.write_all(data, written);
      ADD_FAILURE();
    } catch (const write_error& e) {
      EXPECT_EQ(e.code(), std::errc::connection_reset) << e.what();
      EXPECT_EQ(e.bytes_written(), written);
      EXPECT_GT(written, 0U);
      EXPECT_LT(written, data.size());
    }
    std::error_code ec;
    EXPECT_EQ(stream.write_all(data, ec), 0U);
    EXPECT_EQ(ec, std::errc::broken_pipe);
    resetting.join();
  });
}

TEST_P(tcp_errors, connect_refused) {
  run([] {
    endpoint nobody;
    {
      tcp_listener listener(loopback);
      nobody = listener.local_endpoint();
    }
    try {
      (void)connect(nobody);
      FAIL();
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), std::errc::connection_refused);
      EXPECT_NE(std::string(e.what()).find(nobody.to_string()), std::string::npos) << e.what();
    }
    std::error_code ec;
    EXPECT_FALSE(connect(nobody, ec).is_open());
    EXPECT_EQ(ec, std::errc::connection_refused);
    EXPECT_FALSE(connect(endpoint(), ec).is_open());
    EXPECT_EQ(ec, std::errc::address_family_not_supported);
  });
}

TEST_P(tcp_errors, port_in_use) {
  tcp_listener first(loopback);
  const endpoint taken = first.local_endpoint();
  try {
    tcp_listener second(taken);
    FAIL();
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), std::errc::address_in_use);
    EXPECT_NE(std::string(e.what()).find("bind " + taken.to_string()), std::string::npos)
        << e.what();
  }
  std::error_code ec;
  tcp_listener third(taken, {}, ec);
  EXPECT_EQ(ec, std::errc::address_in_use);
  EXPECT_FALSE(third.is_open());
  EXPECT_THROW(tcp_listener{endpoint()}, std::system_error);
}

TEST_P(tcp_errors, reuse_port_lets_two_listeners_share_it) {
  tcp_listener first(loopback, {.reuse_port = true});
  tcp_listener second(first.local_endpoint(), {.reuse_port = true});
  EXPECT_EQ(first.local_endpoint(), second.local_endpoint());
}

TEST_P(tcp_errors, permission_denied) {
  // As a user without the capability; in a thread, whose user alone the bare system call changes.
  std::error_code ec;
  bool dropped = false;
  std::thread([&] {
    dropped = ::geteuid() != 0 || ::syscall(SYS_setresuid, 65534, 65534, 65534) == 0;
    tcp_listener listener(endpoint("127.0.0.1", 81), {}, ec);
  }).join();
  if (!dropped || !ec) {
    GTEST_SKIP() << "this system lets anybody have low ports";
  }
  EXPECT_TRUE(ec == std::errc::permission_denied || ec == std::errc::address_in_use)
      << ec.message();
}

TEST_P(tcp_errors, second_reader_and_second_writer_are_told) {
  run([] {
    auto [client, server] = make_tcp_pair();
    std::array<std::byte, 8> buffer;
    fiber<> reading = spawn([&] { EXPECT_EQ(server.read_some(buffer), 1U); });
    until_waiting_in("tcp_stream::read_some");
    std::array<std::byte, 8> other;
    std::error_code ec;
    EXPECT_THROW(server.read_some(other), std::logic_error);
    EXPECT_THROW(server.read_exactly(other, ec), std::logic_error);

    const std::vector<std::byte> data(std::size_t{16} << 20);
    fiber<> writing = spawn([&] { EXPECT_EQ(server.write_all(data, ec), data.size()); });
    until_waiting_in("tcp_stream::write_all");
    EXPECT_THROW(server.write_all("x"), std::logic_error);

    client.write_all("x");
    reading.join();
    std::vector<std::byte> sink(data.size());
    client.read_exactly(sink);
    writing.join();
    EXPECT_FALSE(ec);
  });
}

TEST_P(tcp_errors, moved_from_and_default_streams_are_closed) {
  run([] {
    auto [client, server] = make_tcp_pair();
    tcp_stream taken = std::move(client);
    std::array<std::byte, 8> buffer;
    for (tcp_stream* stream : {&client, new tcp_stream}) {
      std::error_code ec;
      EXPECT_FALSE(stream->is_open());
      EXPECT_EQ(stream->native_handle(), -1);
      EXPECT_EQ(stream->read_some(buffer, ec), 0U);
      EXPECT_EQ(ec, errc::closed);
      EXPECT_EQ(ec, std::errc::operation_canceled);
      stream->read_exactly(buffer, ec);
      EXPECT_EQ(ec, errc::closed);
      EXPECT_EQ(stream->write_some("x", ec), 0U);
      EXPECT_EQ(ec, errc::closed);
      EXPECT_EQ(stream->write_all("x", ec), 0U);
      EXPECT_EQ(ec, errc::closed);
      stream->shutdown(shutdown_how::both, ec);
      EXPECT_EQ(ec, errc::closed);
      stream->no_delay(true, ec);
      EXPECT_EQ(ec, errc::closed);
      (void)stream->local_endpoint(ec);
      EXPECT_EQ(ec, errc::closed);
      (void)stream->remote_endpoint(ec);
      EXPECT_EQ(ec, errc::closed);
      EXPECT_EQ(stream->release(), -1);
      EXPECT_THROW(stream->read_some(buffer), std::system_error);
      EXPECT_THROW(stream->write_all("x"), write_error);
      stream->close();
      if (stream != &client) {
        delete stream;
      }
    }
    tcp_listener none;
    std::error_code ec;
    EXPECT_FALSE(none.accept(ec).is_open());
    EXPECT_EQ(ec, errc::closed);
    EXPECT_THROW((void)none.accept_with_backoff(), std::system_error);
    none.close();
  });
}

TEST_P(tcp_errors, accept_on_what_does_not_listen) {
  run([] {
    auto [client, server] = make_tcp_pair();
    tcp_listener odd = tcp_listener::adopt(client.release());
    std::error_code ec;
    EXPECT_FALSE(odd.accept(ec).is_open());
    EXPECT_TRUE(ec) << "it does not listen";
  });
}

TEST_P(tcp_errors, out_of_descriptors_accept_says_so_and_the_connection_waits) {
  SKIP_WITHOUT_DESCRIPTORS();
  run([] {
    (void)make_tcp_pair();
    tcp_listener listener(loopback);
    raw_socket peer(listener.local_endpoint());
    std::error_code ec;
    {
      const no_descriptors_left limit;
      EXPECT_FALSE(listener.accept(ec).is_open());
      EXPECT_EQ(ec, std::errc::too_many_files_open);
      EXPECT_FALSE(connect(listener.local_endpoint(), ec).is_open());
      EXPECT_EQ(ec, std::errc::too_many_files_open);
    }
    tcp_stream stream = listener.accept();
    peer.write("x");
    std::array<char, 1> buffer;
    stream.read_exactly(buffer);
  });
}

// "EMFILE … back off"
TEST_P(tcp_errors, out_of_descriptors_backoff_recovers_and_loses_no_connection) {
  SKIP_WITHOUT_DESCRIPTORS();
  run([] {
    constexpr std::size_t connections = 10;
    (void)make_tcp_pair();  // the first I/O makes the rings, which want descriptors too
    tcp_listener listener(loopback);
    std::vector<raw_socket> peers;
    for (std::size_t i = 0; i < connections; ++i) {
      peers.emplace_back(listener.local_endpoint());
    }
    std::vector<tcp_stream> accepted;
    fiber<> accepting;
    {
      const no_descriptors_left limit;
      accepting = spawn([&] {
        while (accepted.size() < connections) {
          accepted.push_back(listener.accept_with_backoff());
        }
      });
      const auto before = stats().submissions;
      this_fiber::sleep_for(60ms);
      // It waited in growing steps: 5, 10, 20, … ms, two or three operations a step.
      EXPECT_LE(stats().submissions - before, 20U);
      EXPECT_TRUE(accepted.empty());
    }
    accepting.join();
    for (std::size_t i = 0; i < connections; ++i) {
      peers[i].write("x");
      std::array<char, 1> buffer;
      accepted[i].read_exactly(buffer);
    }
  });
}

TEST_P(tcp_errors, backoff_ends_with_the_listener_and_with_cancellation) {
  SKIP_WITHOUT_DESCRIPTORS();
  run([] {
    (void)make_tcp_pair();
    tcp_listener listener(loopback);
    raw_socket peer(listener.local_endpoint());
    const no_descriptors_left limit;
    fiber<> cancelled_one = spawn([&] { (void)listener.accept_with_backoff(); });
    std::error_code ec;
    fiber<> closed_one = spawn([&] { EXPECT_FALSE(listener.accept_with_backoff(ec).is_open()); });
    this_fiber::sleep_for(30ms);
    cancelled_one.cancel();
    EXPECT_THROW(cancelled_one.join(), fiber_cancelled);
    listener.close();
    closed_one.join();
    EXPECT_EQ(ec, errc::closed);
  });
}

}  // namespace
