// Socket options: that what is set is what the kernel has, and what comes of it.
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include <aramid/blocking.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

#include "leak_check.hpp"
#include "tcp_pair.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::loopback;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;

class tcp_options : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp_options);

int kernels(int fd, int level, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, option, &value, &size), 0);
  return value;
}

TEST_P(tcp_options, no_delay) {
  run([] {
    auto [client, server] = make_tcp_pair();
    EXPECT_FALSE(client.no_delay());
    client.no_delay(true);
    EXPECT_TRUE(client.no_delay());
    EXPECT_EQ(kernels(client.native_handle(), IPPROTO_TCP, TCP_NODELAY), 1);
    EXPECT_FALSE(server.no_delay());
    std::error_code ec = std::make_error_code(std::errc::io_error);
    client.no_delay(false, ec);
    EXPECT_FALSE(ec);
    EXPECT_FALSE(client.no_delay(ec));
    EXPECT_FALSE(ec);
  });
}

TEST_P(tcp_options, keep_alive_with_its_times) {
  run([] {
    auto [client, server] = make_tcp_pair();
    EXPECT_EQ(client.keep_alive(), std::nullopt);
    const keep_alive_times wanted{.idle = 2min, .interval = 7s, .count = 3};
    client.keep_alive(true, wanted);
    EXPECT_EQ(client.keep_alive(), wanted);
    const int fd = client.native_handle();
    EXPECT_EQ(kernels(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(kernels(fd, IPPROTO_TCP, TCP_KEEPIDLE), 120);
    EXPECT_EQ(kernels(fd, IPPROTO_TCP, TCP_KEEPINTVL), 7);
    EXPECT_EQ(kernels(fd, IPPROTO_TCP, TCP_KEEPCNT), 3);

    client.keep_alive(false, {.idle = -1s});  // not looked at
    EXPECT_EQ(client.keep_alive(), std::nullopt);
    EXPECT_EQ(kernels(fd, SOL_SOCKET, SO_KEEPALIVE), 0);

    std::error_code ec = std::make_error_code(std::errc::io_error);
    client.keep_alive(true, {.interval = 9s}, ec);
    EXPECT_FALSE(ec);
    EXPECT_EQ(client.keep_alive(ec), (keep_alive_times{.idle = 2min, .interval = 9s, .count = 3}));
    client.keep_alive(false, ec);
    EXPECT_EQ(client.keep_alive(ec), std::nullopt);
    EXPECT_FALSE(ec);
  });
}

TEST_P(tcp_options, keep_alive_out_of_range_is_named_and_changes_nothing) {
  run([] {
    auto [client, server] = make_tcp_pair();
    struct bad {
      keep_alive_times times;
      const char* name;
    };
    for (const bad& each : {bad{{.idle = -1s}, "idle"}, bad{{.idle = 32768s}, "idle"}, bad{{.interval = -1s}, "interval"},
                            bad{{.idle = 1s, .interval = 32768s}, "interval"}, bad{{.idle = 1s, .count = -1}, "count"},
                            bad{{.idle = 1s, .interval = 1s, .count = 128}, "count"}}) {
      try {
        client.keep_alive(true, each.times);
        ADD_FAILURE() << each.name;
      } catch (const std::invalid_argument& e) {
        EXPECT_NE(std::string(e.what()).find("tcp_stream::keep_alive"), std::string::npos) << e.what();
        EXPECT_NE(std::string(e.what()).find(each.name), std::string::npos) << e.what();
      }
      std::error_code ec;
      client.keep_alive(true, each.times, ec);
      EXPECT_EQ(ec, std::errc::invalid_argument);
      EXPECT_EQ(client.keep_alive(), std::nullopt);
      EXPECT_EQ(kernels(client.native_handle(), IPPROTO_TCP, TCP_KEEPIDLE), kernels(server.native_handle(), IPPROTO_TCP, TCP_KEEPIDLE));
    }
    const keep_alive_times most{.idle = 32767s, .interval = 32767s, .count = 127};
    client.keep_alive(true, most);
    EXPECT_EQ(client.keep_alive(), most);
  });
}

/// A limit of the kernel's, if it can be read here.
std::optional<std::size_t> limit(const char* name) {
  std::size_t value = 0;
  std::ifstream file(std::string("/proc/sys/net/core/") + name);
  return file >> value ? std::optional(value) : std::nullopt;
}

TEST_P(tcp_options, buffer_sizes_are_doubled_and_kept_within_limits) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.receive_buffer_size(20'000);
    client.send_buffer_size(30'000);
    EXPECT_EQ(client.receive_buffer_size(), 40'000U);
    EXPECT_EQ(client.send_buffer_size(), 60'000U);
    EXPECT_EQ(kernels(client.native_handle(), SOL_SOCKET, SO_RCVBUF), 40'000);
    EXPECT_EQ(kernels(client.native_handle(), SOL_SOCKET, SO_SNDBUF), 60'000);
    std::error_code ec = std::make_error_code(std::errc::io_error);
    client.receive_buffer_size(0, ec);
    EXPECT_FALSE(ec);
    client.send_buffer_size(0, ec);
    EXPECT_FALSE(ec);
    EXPECT_GT(client.receive_buffer_size(ec), 0U);
    EXPECT_GT(client.send_buffer_size(ec), 0U);
    client.receive_buffer_size(std::numeric_limits<std::size_t>::max());
    client.send_buffer_size(std::size_t{1} << 32);  // not 0, as it would be in an int
    EXPECT_GT(client.receive_buffer_size(), 40'000U);
    EXPECT_GT(client.send_buffer_size(), 60'000U);
    if (const auto most = limit("rmem_max")) {
      EXPECT_EQ(client.receive_buffer_size(), 2 * *most);
    }
    if (const auto most = limit("wmem_max")) {
      EXPECT_EQ(client.send_buffer_size(), 2 * *most);
    }
  });
}

TEST_P(tcp_options, connections_have_what_their_listener_has) {
  run([] {
    tcp_listener listener(loopback, {.receive_buffer_size_bytes = 50'000, .send_buffer_size_bytes = 70'000});
    const int on = 1;
    ASSERT_EQ(::setsockopt(listener.native_handle(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on), 0);
    ASSERT_EQ(::setsockopt(listener.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    tcp_stream client = connect(listener.local_endpoint());
    tcp_stream server = listener.accept();
    EXPECT_EQ(server.receive_buffer_size(), 100'000U);
    EXPECT_EQ(server.send_buffer_size(), 140'000U);
    EXPECT_TRUE(server.keep_alive());
    EXPECT_TRUE(server.no_delay());
    EXPECT_FALSE(client.keep_alive());
    EXPECT_NE(client.receive_buffer_size(), 100'000U);
  });
}

TEST_P(tcp_options, linger_is_kept) {
  run([] {
    auto [client, server] = make_tcp_pair();
    EXPECT_EQ(client.linger(), std::nullopt);
    client.linger(1min);
    EXPECT_EQ(client.linger(), 60s);
    client.linger(0s);
    EXPECT_EQ(client.linger(), 0s);
    client.linger(std::nullopt);
    EXPECT_EQ(client.linger(), std::nullopt);
    std::error_code ec = std::make_error_code(std::errc::io_error);
    client.linger(3s, ec);
    EXPECT_FALSE(ec);
    EXPECT_EQ(client.linger(ec), 3s);
    EXPECT_THROW(client.linger(-1s), std::invalid_argument);
    client.linger(-1s, ec);
    EXPECT_EQ(ec, std::errc::invalid_argument);
    EXPECT_EQ(client.linger(), 3s);
    client.linger(std::chrono::seconds::max(), ec);  // the kernel's own longest
    EXPECT_FALSE(ec);
    EXPECT_GT(client.linger(), 24h);
    client.linger(std::nullopt);
  });
}

TEST_P(tcp_options, no_linger_resets_the_peer_and_the_default_does_not) {
  run([] {
    std::array<std::byte, 8> buffer;
    {
      auto [client, server] = make_tcp_pair();
      client.close();
      EXPECT_EQ(server.read_some(buffer), 0U);
    }
    auto [client, server] = make_tcp_pair();
    client.linger(0s);
    client.close();
    std::error_code ec;
    EXPECT_EQ(server.read_some(buffer, ec), 0U);
    EXPECT_EQ(ec, std::errc::connection_reset);
  });
}

TEST_P(tcp_options, lingering_close_on_a_thread_of_its_own_leaves_the_fibers_running) {
  run([] {
    auto [client, server] = make_tcp_pair();
    server.receive_buffer_size(32'768);
    client.send_buffer_size(std::size_t{200} * 1024);
    const auto data = pattern(std::size_t{150} * 1024);  // fits into both buffers together, not into the receiver's
    client.write_all(data);
    client.linger(1h);
    fiber<> closing = spawn([&, &client = client] { blocking([&] { client.close(); }); });
    // With one worker this goes on only because the close does not have its thread.
    std::vector<std::byte> got(data.size());
    server.read_exactly(got);
    EXPECT_TRUE(got == data);
    EXPECT_EQ(server.read_some(got), 0U);
    closing.join();
  });
}

TEST_P(tcp_options, of_a_closed_stream) {
  run([] {
    tcp_stream none;
    std::error_code ec;
    const auto is_closed = [&] {
      EXPECT_EQ(ec, errc::closed);
      ec.clear();
    };
    none.no_delay(true, ec), is_closed();
    EXPECT_FALSE(none.no_delay(ec)), is_closed();
    none.keep_alive(true, ec), is_closed();
    none.keep_alive(true, {.idle = 1s}, ec), is_closed();
    EXPECT_EQ(none.keep_alive(ec), std::nullopt), is_closed();
    none.receive_buffer_size(1, ec), is_closed();
    EXPECT_EQ(none.receive_buffer_size(ec), 0U), is_closed();
    none.send_buffer_size(1, ec), is_closed();
    EXPECT_EQ(none.send_buffer_size(ec), 0U), is_closed();
    none.linger(1s, ec), is_closed();
    EXPECT_EQ(none.linger(ec), std::nullopt), is_closed();
    const auto throws = [](const char* name, auto&& call) {
      try {
        call();
        ADD_FAILURE() << name;
      } catch (const std::system_error& e) {
        EXPECT_EQ(e.code(), errc::closed);
        EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
      }
    };
    throws("tcp_stream::no_delay", [&] { none.no_delay(true); });
    throws("tcp_stream::no_delay", [&] { (void)none.no_delay(); });
    throws("tcp_stream::keep_alive", [&] { none.keep_alive(true); });
    throws("tcp_stream::keep_alive", [&] { (void)none.keep_alive(); });
    throws("tcp_stream::receive_buffer_size", [&] { none.receive_buffer_size(1); });
    throws("tcp_stream::receive_buffer_size", [&] { (void)none.receive_buffer_size(); });
    throws("tcp_stream::send_buffer_size", [&] { none.send_buffer_size(1); });
    throws("tcp_stream::send_buffer_size", [&] { (void)none.send_buffer_size(); });
    throws("tcp_stream::linger", [&] { none.linger(1s); });
    throws("tcp_stream::linger", [&] { (void)none.linger(); });
  });
}

TEST_P(tcp_options, what_a_socket_does_not_have_is_said) {
  run([] {
    std::array<int, 2> fds{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
    tcp_stream a = tcp_stream::adopt(fds[0]);
    tcp_stream b = tcp_stream::adopt(fds[1]);
    std::error_code ec;
    a.no_delay(true, ec);
    EXPECT_EQ(ec, std::errc::operation_not_supported);
    a.keep_alive(true, {.idle = 1s}, ec);
    EXPECT_EQ(ec, std::errc::operation_not_supported);
    EXPECT_EQ(kernels(a.native_handle(), SOL_SOCKET, SO_KEEPALIVE), 0);
    a.send_buffer_size(20'000);
    EXPECT_EQ(a.send_buffer_size(), 40'000U);
  });
}

TEST_P(tcp_options, from_a_thread_while_a_fiber_reads) {
  run([] {
    auto [client, server] = make_tcp_pair();
    std::array<std::byte, 1> buffer;
    fiber<> reading = spawn([&, &server = server] { EXPECT_EQ(server.read_some(buffer), 1U); });
    this_fiber::yield();
    std::thread([&, &client = client, &server = server] {
      server.no_delay(true);
      server.keep_alive(true);
      EXPECT_TRUE(server.no_delay());
      client.no_delay(true);
    }).join();
    client.write_all("x");
    reading.join();
  });
}

}  // namespace
