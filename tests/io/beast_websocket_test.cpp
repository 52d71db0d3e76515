// WebSocket by Boost.Beast on fibers, client and server, over asio_stream.
#include <aramid/io/asio.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/write.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>

#include <aramid/event.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "asio_fixture.hpp"
#include "tests/runtime/scale.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::asio_service;
using aramid::test::pattern_text;
using aramid::test::raw_socket;
using aramid::test::scaled;
using aramid::test::tcp_asio;
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = beast::websocket;
using boost::system::error_code;
using boost::system::system_error;

using web_socket = websocket::stream<tcp_asio>;

static_assert(std::is_same_v<beast::lowest_layer_type<web_socket>, tcp_stream>);

/// Gives each message back, as text or binary as it came, until the peer closes.
void mirror_messages(tcp_asio stream) {
  web_socket socket(std::move(stream));
  socket.accept();
  beast::flat_buffer message;
  for (;;) {
    error_code ec;
    socket.read(message, ec);
    if (ec == websocket::error::closed) {
      return;
    }
    if (ec) {
      throw system_error(ec);
    }
    socket.binary(socket.got_binary());
    socket.write(message.data());
    message.consume(message.size());
  }
}

web_socket open(const asio_service& service) {
  web_socket socket(service.connect());
  socket.handshake("test", "/");
  return socket;
}

std::string read_message(web_socket& socket) {
  beast::flat_buffer message;
  socket.read(message);
  return beast::buffers_to_string(message.data());
}

class beast_websocket : public aramid::test::with_asio {};
ARAMID_ON_EACH_DRIVER(beast_websocket);

TEST_P(beast_websocket, handshake_messages_and_close) {
  run([] {
    asio_service service(mirror_messages);
    web_socket socket = open(service);
    for (int i = 0; i < 50; ++i) {
      const std::string text = "message " + std::to_string(i);
      socket.text(true);
      socket.write(asio::buffer(text));
      EXPECT_EQ(read_message(socket), text);
      EXPECT_TRUE(socket.got_text());
      const std::string bytes = pattern_text(static_cast<std::size_t>(i));
      socket.binary(true);
      socket.write(asio::buffer(bytes));
      EXPECT_EQ(read_message(socket), bytes);
      EXPECT_TRUE(socket.got_binary());
    }
    socket.close(websocket::close_code::normal);
    EXPECT_FALSE(socket.is_open());
    // The teardown has closed the connection as well.
    EXPECT_FALSE(beast::get_lowest_layer(socket).is_open());
    error_code ec;
    beast::flat_buffer none;
    socket.read(none, ec);
    EXPECT_EQ(ec, asio::error::operation_aborted);
    service.join();
    EXPECT_EQ(service.failures(), 0);
  });
}

TEST_P(beast_websocket, the_server_may_close_too) {
  run([] {
    asio_service service([](tcp_asio stream) {
      web_socket socket(std::move(stream));
      socket.accept();
      socket.close({websocket::close_code::going_away, "enough"});
      EXPECT_FALSE(beast::get_lowest_layer(socket).is_open());
    });
    web_socket socket = open(service);
    beast::flat_buffer none;
    error_code ec;
    socket.read(none, ec);
    EXPECT_EQ(ec, websocket::error::closed);
    EXPECT_EQ(socket.reason().code, websocket::close_code::going_away);
    EXPECT_EQ(socket.reason().reason, "enough");
    EXPECT_FALSE(beast::get_lowest_layer(socket).is_open());
    service.join();
    EXPECT_EQ(service.failures(), 0);
  });
}

TEST_P(beast_websocket, large_messages_in_fragments_plain_and_compressed) {
  run([] {
    asio_service service([](tcp_asio stream) {
      web_socket socket(std::move(stream));
      websocket::permessage_deflate compression;
      compression.server_enable = true;
      socket.set_option(compression);
      socket.accept();
      beast::flat_buffer message;
      socket.read(message);
      socket.binary(true);
      socket.write(message.data());
      message.consume(message.size());
      error_code ec;
      socket.read(message, ec);
      EXPECT_EQ(ec, websocket::error::closed);
    });
    for (const bool compressed : {false, true}) {
      web_socket socket(service.connect());
      websocket::permessage_deflate compression;
      compression.client_enable = compressed;
      socket.set_option(compression);
      socket.handshake("test", "/");
      const std::string message = pattern_text(std::size_t{1} << 20);
      socket.binary(true);
      for (std::size_t sent = 0; sent < message.size();) {
        const std::size_t size = std::min<std::size_t>(200'000, message.size() - sent);
        socket.write_some(sent + size == message.size(), asio::buffer(message.data() + sent, size));
        sent += size;
      }
      EXPECT_TRUE(read_message(socket) == message);
      socket.close(websocket::close_code::normal);
    }
    service.join();
    EXPECT_EQ(service.failures(), 0);
  });
}

TEST_P(beast_websocket, pings_are_answered_while_a_message_is_read) {
  run([] {
    asio_service service(mirror_messages);
    web_socket socket = open(service);
    int pongs = 0;
    socket.control_callback([&](websocket::frame_type type, beast::string_view payload) {
      EXPECT_EQ(type, websocket::frame_type::pong);
      EXPECT_EQ(payload, "still there?");
      ++pongs;
    });
    for (int i = 0; i < 3; ++i) {
      socket.ping("still there?");
    }
    socket.write(asio::buffer("after the pings", 15));
    EXPECT_EQ(read_message(socket), "after the pings");
    EXPECT_EQ(pongs, 3);
    socket.close(websocket::close_code::normal);
  });
}

TEST_P(beast_websocket, a_read_that_a_deadline_ended_before_anything_came_can_be_repeated) {
  run([] {
    asio_service service(mirror_messages);
    web_socket socket = open(service);
    beast::flat_buffer message;
    for (int i = 0; i < scaled(100, 10); ++i) {
      EXPECT_FALSE(try_with_timeout(100us, [&] { socket.read(message); }));
      EXPECT_TRUE(socket.is_message_done());
      EXPECT_EQ(message.size(), 0U);
      const std::string text = "message " + std::to_string(i);
      socket.write(asio::buffer(text));
      socket.read(message);
      EXPECT_EQ(beast::buffers_to_string(message.data()), text);
      message.consume(message.size());
    }
    socket.close(websocket::close_code::normal);
    service.join();
    EXPECT_EQ(service.failures(), 0);
  });
}

// Peers that vanish.

TEST_P(beast_websocket, a_peer_that_resets_or_ends_without_a_close_is_an_error) {
  run([] {
    asio_service service(mirror_messages);
    const std::string_view handshake =
        "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    const std::string_view half_a_frame("\x82\xfe\x01", 3);
    {
      raw_socket peer(service.where());
      peer.write(handshake.substr(0, 60));
    }
    {
      raw_socket peer(service.where());
      peer.write(handshake);
      peer.write(half_a_frame);
    }
    {
      raw_socket peer(service.where());
      peer.write(handshake);
      peer.write(half_a_frame);
      peer.reset();
    }
    // They were accepted in order, and each failure is that session's own.
    web_socket socket = open(service);
    socket.write(asio::buffer("still served", 12));
    EXPECT_EQ(read_message(socket), "still served");
    socket.close(websocket::close_code::normal);
    service.join();
    EXPECT_EQ(service.failures(), 3);
  });
}

TEST_P(beast_websocket, bad_frames_fail_the_connection_and_it_is_torn_down) {
  run([] {
    event torn_down;
    asio_service service([&](tcp_asio stream) {
      web_socket socket(std::move(stream));
      socket.accept();
      beast::flat_buffer message;
      error_code ec;
      socket.read(message, ec);
      EXPECT_EQ(ec, websocket::error::bad_reserved_bits);
      EXPECT_FALSE(beast::get_lowest_layer(socket).is_open());
      torn_down.set();
    });
    web_socket socket = open(service);
    const std::string_view reserved_bits("\xf1\x80\0\0\0\0", 6);
    asio::write(socket.next_layer(), asio::buffer(reserved_bits.data(), reserved_bits.size()));
    beast::flat_buffer none;
    error_code ec;
    socket.read(none, ec);
    EXPECT_EQ(ec, websocket::error::closed);
    EXPECT_EQ(socket.reason().code, websocket::close_code::protocol_error);
    torn_down.wait();
    service.join();
    EXPECT_EQ(service.failures(), 0);
  });
}

TEST_P(beast_websocket, a_close_that_nobody_answers_ends_at_its_deadline) {
  run([] {
    event done;
    asio_service service([&](tcp_asio stream) {
      web_socket socket(std::move(stream));
      socket.accept();
      done.wait();  // and reads nothing
    });
    web_socket socket = open(service);
    EXPECT_FALSE(try_with_timeout(5ms, [&] { socket.close(websocket::close_code::normal); }));
    beast::close_socket(beast::get_lowest_layer(socket));
    EXPECT_FALSE(beast::get_lowest_layer(socket).is_open());
    done.set();
    service.join();
    EXPECT_EQ(service.failures(), 0);
  });
}

TEST_P(beast_websocket, servers_that_are_cancelled_let_their_clients_know) {
  run([] {
    asio_service service(mirror_messages);
    std::vector<web_socket> waiting;
    for (int i = 0; i < 20; ++i) {
      waiting.push_back(open(service));
      waiting.back().write(asio::buffer("first", 5));
      EXPECT_EQ(read_message(waiting.back()), "first");
    }
    service.cancel();
    service.join();
    EXPECT_EQ(service.failures(), 0);
    for (web_socket& socket : waiting) {
      beast::flat_buffer none;
      error_code ec;
      socket.read(none, ec);
      EXPECT_EQ(ec, asio::error::eof) << ec.message();
    }
  });
}

TEST_P(beast_websocket, many_sockets_at_once) {
  run([] {
    asio_service service(mirror_messages);
    with_task_group([&](task_group& group) {
      for (std::uint64_t s = 0; s < 100; ++s) {
        group.spawn([&service, s] {
          web_socket socket = open(service);
          socket.binary(true);
          for (std::uint64_t i = 0; i < 10; ++i) {
            const std::string message = pattern_text(700, 1000 * s + i);
            socket.write(asio::buffer(message));
            ASSERT_TRUE(read_message(socket) == message);
          }
          socket.close(websocket::close_code::normal);
        });
      }
    });
    service.join();
    EXPECT_EQ(service.failures(), 0);
  });
}

}  // namespace
