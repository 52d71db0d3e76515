// What broke a connection, mostly a peer's reset: the kernel tells of it once, and it must reach the reader whoever was told (io/src/stream_socket.hpp, "The end").
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/timeout.hpp>

#include "io/src/stream_socket.hpp"
#include "leak_check.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/runtime_fixture.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::loopback;
using aramid::test::raw_socket;

class tcp_reset : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp_reset);

// The kernel tells of a reset once. If it has told a writer, the next read returns 0: what was cut short would pass for complete.
TEST_P(tcp_reset, a_reset_that_a_writer_was_told_of_is_no_end_of_stream) {
  run([] {
    tcp_listener listener(loopback);
    tcp_stream peer = connect(listener.local_endpoint());
    tcp_stream stream = listener.accept();
    const std::vector<std::byte> data(std::size_t{16} << 20);
    std::size_t sent = 0;
    EXPECT_FALSE(try_with_timeout(20ms, [&] { peer.write_all(data, sent); }));
    peer.linger(0s);
    peer.close();
    std::error_code ec;
    EXPECT_EQ(stream.write_all("x", ec), 0U);
    EXPECT_EQ(ec, std::errc::connection_reset);
    std::vector<std::byte> buffer(65'536);
    std::size_t got = 0;
    while (const std::size_t n = stream.read_some(buffer, ec)) {
      got += n;
    }
    EXPECT_LT(got, sent);
    EXPECT_EQ(ec, std::errc::connection_reset);
    EXPECT_FALSE(stream.receive(ec));
    EXPECT_EQ(ec, std::errc::connection_reset);
    EXPECT_EQ(stream.read_some({std::span(buffer)}, ec), 0U);
    EXPECT_EQ(ec, std::errc::connection_reset);
  });
}

TEST_P(tcp_reset, a_peer_that_ended_before_it_refused_more_has_ended) {
  run([] {
    tcp_listener listener(loopback);
    tcp_stream peer = connect(listener.local_endpoint());
    tcp_stream stream = listener.accept();
    peer.write_all("abc");
    peer.close();  // what comes now it answers with a reset
    stream.write_all("x");
    std::error_code ec;
    while (!ec) {
      stream.write_all("y", ec);
    }
    EXPECT_EQ(ec, std::errc::broken_pipe);
    EXPECT_EQ(aramid::test::read_text(stream, 4), "abc");
    std::array<char, 1> buffer;
    EXPECT_EQ(stream.read_some(buffer), 0U);
  });
}

/// Until what `from` writes into the connection of `to` has filled it.
void wait_until_full(const raw_socket& to) {
  int before = 0, now = 0;
  do {
    before = now;
    this_fiber::sleep_for(2ms);
    ASSERT_EQ(::ioctl(to.fd(), FIONREAD, &now), 0);
  } while (now == 0 || now != before);
}

// With MSG_WAITALL the kernel would go on after the bytes that fitted, meet the reset and return their count.
TEST_P(tcp_reset, a_writer_that_has_sent_some_is_told) {
  for (const bool in_parts : {false, true}) {
    run([in_parts] {
      tcp_listener listener(loopback);
      raw_socket peer(listener.local_endpoint());
      tcp_stream stream = listener.accept();
      peer.write("abc");
      std::error_code ec;
      std::size_t written = 0;
      fiber<> writing = spawn([&] {
        const std::vector<std::byte> data(std::size_t{16} << 20);
        in_parts ? stream.write_all({std::span(data)}, written, ec) : stream.write_all(data, written, ec);
      });
      wait_until_full(peer);
      peer.reset();
      writing.join();
      EXPECT_GT(written, 0U);
      EXPECT_EQ(ec, std::errc::connection_reset);
      std::array<char, 8> buffer;
      stream.read_exactly(buffer, ec);
      EXPECT_EQ(ec, std::errc::connection_reset);
      EXPECT_EQ(aramid::test::read_text(stream, 3), "abc");
      EXPECT_EQ(stream.read_some(buffer, ec), 0U);
      EXPECT_EQ(ec, std::errc::connection_reset);
    });
  }
}

// The kernel tells of that once, too.
TEST_P(tcp_reset, a_connection_that_timed_out_has_no_end_either) {
  run([] {
    tcp_listener listener(loopback);
    raw_socket peer(listener.local_endpoint());  // reads nothing
    tcp_stream stream = listener.accept();
    const int milliseconds = 50;
    ASSERT_EQ(::setsockopt(stream.native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds), 0);
    peer.write("abc");
    std::error_code ec;
    stream.write_all(std::vector<std::byte>(std::size_t{16} << 20), ec);
    EXPECT_EQ(ec, std::errc::timed_out);
    EXPECT_EQ(aramid::test::read_text(stream, 3), "abc");
    std::array<char, 8> buffer;
    for (int i = 0; i != 2; ++i) {
      EXPECT_EQ(stream.read_some(buffer, ec), 0U);
      EXPECT_EQ(ec, std::errc::timed_out);
    }
  });
}

/// A connection from which "abc" is to be read and that is dead then, with a writer in the middle of a call: the test says what that is told, and when.
class dying_connection {
public:
  enum class death { reset, end_then_reset };

  explicit dying_connection(death how) {
    tcp_listener listener(loopback);
    raw_socket peer(listener.local_endpoint());
    socket_ = detail::make_stream(listener.accept().release(), detail::runtime_ref::current());
    writer_.emplace(socket_->handle, detail::use::writer, "test");
    peer.write("abc");
    if (how == death::reset) {
      peer.reset();
    } else {
      peer.close();
      EXPECT_EQ(::send(writer_->fd(), "x", 1, MSG_NOSIGNAL), 1);  // is answered with the reset
    }
    pollfd hung_up{writer_->fd(), 0, 0};
    EXPECT_EQ(::poll(&hung_up, 1, -1), 1);
    // What the kernel tells now it tells nobody else.
    EXPECT_EQ(::send(writer_->fd(), "y", 1, MSG_NOSIGNAL), -1);
    told_ = errno;
    EXPECT_EQ(told_, how == death::reset ? ECONNRESET : EPIPE);
  }

  [[nodiscard]] detail::stream_socket& socket() { return *socket_; }

  /// Returns when the reader has met the end.
  void wait_for_reader() const {
    EXPECT_TRUE(aramid::test::eventually([this] { return writer_->reader_waits(); }));
  }

  void let_the_writer_go() {
    std::error_code ec;
    EXPECT_EQ(detail::sent(*writer_, -told_, ec), 0U);
    writer_.reset();
  }

private:
  detail::stream_ptr socket_;
  std::optional<detail::descriptor_user> writer_;
  int told_ = 0;
};

/// Returns what came before the error.
using read_call = std::size_t (*)(detail::stream_socket&, std::error_code&);

std::size_t read_some(detail::stream_socket& socket, std::error_code& ec) {
  std::array<std::byte, 8> buffer;
  return receive_some(socket, buffer, ec, "test");
}

std::size_t read_some_into_two(detail::stream_socket& socket, std::error_code& ec) {
  std::array<std::byte, 8> buffer;
  const std::array<std::span<std::byte>, 2> both{std::span(buffer).first(4), std::span(buffer).last(4)};
  return receive_some(socket, both, ec, "test");
}

std::size_t receive(detail::stream_socket& socket, std::error_code& ec) { return receive_lent(socket, ec, "test").size(); }

std::size_t read_exactly_eight(detail::stream_socket& socket, std::error_code& ec) {
  std::array<std::byte, 8> buffer;
  receive_exactly(socket, buffer, ec, "test");
  if (ec == errc::end_of_stream) {
    return 0;
  }
  std::error_code none_lost;
  return socket.unread.take(buffer, none_lost);
}

constexpr std::array<read_call, 4> read_calls{read_some, read_some_into_two, receive, read_exactly_eight};

/// Reads until the end or an error. Returns: how many bytes.
std::size_t read_all(detail::stream_socket& socket, read_call call, std::error_code& ec) {
  std::size_t sum = 0;
  while (const std::size_t count = call(socket, ec)) {
    sum += count;
    if (ec) {
      break;
    }
  }
  return sum;
}

TEST_P(tcp_reset, a_reader_at_the_end_waits_for_a_writer_that_is_being_told) {
  for (const read_call call : read_calls) {
    run([call] {
      dying_connection connection(dying_connection::death::reset);
      std::error_code ec;
      fiber<std::size_t> reading = spawn([&] { return read_all(connection.socket(), call, ec); });
      connection.wait_for_reader();
      EXPECT_FALSE(reading.done());
      connection.let_the_writer_go();
      EXPECT_EQ(reading.join(), 3U);
      EXPECT_EQ(ec, std::errc::connection_reset);
    });
  }
}

TEST_P(tcp_reset, the_end_is_the_end_if_the_writer_is_told_of_no_reset) {
  run([] {
    dying_connection connection(dying_connection::death::end_then_reset);
    std::error_code ec;
    fiber<std::size_t> reading = spawn([&] { return read_all(connection.socket(), read_some, ec); });
    connection.wait_for_reader();
    connection.let_the_writer_go();
    EXPECT_EQ(reading.join(), 3U);
    EXPECT_FALSE(ec);
  });
}

TEST_P(tcp_reset, a_reader_that_waits_for_the_writer_is_cancelled_after) {
  run([] {
    dying_connection connection(dying_connection::death::reset);
    std::error_code ec;
    fiber<> reading = spawn([&] {
      EXPECT_EQ(read_all(connection.socket(), read_some, ec), 3U);
      EXPECT_EQ(ec, std::errc::connection_reset);
      this_fiber::checkpoint();
      ADD_FAILURE() << "the cancellation was lost";
    });
    connection.wait_for_reader();
    reading.cancel();
    connection.let_the_writer_go();
    EXPECT_THROW(reading.join(), fiber_cancelled);
    EXPECT_EQ(ec, std::errc::connection_reset);
  });
}

TEST_P(tcp_reset, a_close_waits_for_the_reader_that_waits_for_the_writer) {
  run([] {
    dying_connection connection(dying_connection::death::reset);
    std::error_code ec;
    fiber<std::size_t> reading = spawn([&] { return read_all(connection.socket(), read_some, ec); });
    connection.wait_for_reader();
    fiber<> closing = spawn([&] { EXPECT_FALSE(connection.socket().handle.close()); });
    this_fiber::sleep_for(1ms);
    EXPECT_FALSE(closing.done());
    connection.let_the_writer_go();
    closing.join();
    EXPECT_EQ(reading.join(), 3U);
    EXPECT_EQ(ec, std::errc::connection_reset);
  });
}

TEST_P(tcp_reset, a_plain_thread_that_reads_waits_for_the_writer_too) {
  run([] {
    dying_connection connection(dying_connection::death::reset);
    std::error_code ec;
    std::size_t count = 0;
    std::atomic<bool> done{false};
    std::thread reading([&] {
      count = read_all(connection.socket(), read_some, ec);
      done = true;
    });
    connection.wait_for_reader();
    EXPECT_FALSE(done);
    connection.let_the_writer_go();
    while (!done) {
      this_fiber::sleep_for(1ms);
    }
    reading.join();
    EXPECT_EQ(count, 3U);
    EXPECT_EQ(ec, std::errc::connection_reset);
  });
}

TEST_P(tcp_reset, a_half_closed_peer_ends_the_reading_while_the_writer_goes_on) {
  run([] {
    tcp_listener listener(loopback);
    raw_socket peer(listener.local_endpoint());
    tcp_stream stream = listener.accept();
    peer.write("abc");
    ASSERT_EQ(::shutdown(peer.fd(), SHUT_WR), 0);
    std::error_code ec;
    fiber<> writing = spawn([&] { stream.write_all(std::vector<std::byte>(std::size_t{16} << 20), ec); });
    wait_until_full(peer);
    EXPECT_EQ(aramid::test::read_text(stream, 4), "abc");
    EXPECT_FALSE(writing.done());
    peer.reset();
    writing.join();
    EXPECT_EQ(ec, std::errc::broken_pipe);
    std::array<char, 1> buffer;
    EXPECT_EQ(stream.read_some(buffer), 0U);
  });
}

// The races themselves: a peer that never ends its direction, only resets it.
TEST_P(tcp_reset, whoever_is_told_the_reader_never_meets_an_end) {
  run([] {
    std::mt19937 random(1);
    tcp_listener listener(loopback);
    const std::vector<std::byte> data(300'000);
    for (int round = 0; round != 200; ++round) {
      raw_socket peer(listener.local_endpoint());
      tcp_stream stream = listener.accept();
      std::error_code read_error;
      fiber<> reading = spawn([&] {
        std::vector<std::byte> buffer(10'000);
        while (stream.read_some(buffer, read_error) != 0) {
        }
      });
      fiber<> writing = spawn([&, size = random() % data.size()] {
        std::error_code ec;
        while (!ec) {
          stream.write_all(std::span(data).first(size + 1), ec);
        }
      });
      peer.write("abc");
      this_fiber::sleep_for(std::chrono::microseconds(random() % 300));
      peer.reset();
      reading.join();
      writing.join();
      ASSERT_EQ(read_error, std::errc::connection_reset) << "in round " << round;
    }
  });
}

}  // namespace
