// HTTP/1.1 by Boost.Beast on fibers, client and server, over asio_stream.
#include <aramid/io/asio.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <aramid/event.hpp>
#include <aramid/semaphore.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "asio_fixture.hpp"
#include "cut_short.hpp"
#include "tests/runtime/scale.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::asio_service;
using aramid::test::make_asio_pair;
using aramid::test::pattern_text;
using aramid::test::raw_socket;
using aramid::test::scaled;
using aramid::test::tcp_asio;
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using boost::system::system_error;

using request = http::request<http::string_body>;
using response = http::response<http::string_body>;

constexpr std::uint64_t largest_body = 64 << 20;

std::string target_of(int number) {
  std::string target("/");
  return target += std::to_string(number);
}

/// "" has none: an empty chunk would be the last one.
std::string chunk_of(const std::string& body) {
  std::ostringstream text;
  if (!body.empty()) {
    text << std::hex << body.size() << "\r\n" << body << "\r\n";
  }
  return text.str();
}

request make_post(std::string target, std::string body) {
  request question(http::verb::post, target, 11);
  question.set(http::field::host, "test");
  question.body() = std::move(body);
  question.prepare_payload();
  return question;
}

/// Answers each request with its own target and body, as long as the client likes.
void mirror_requests(tcp_asio stream) {
  beast::flat_buffer buffer;
  for (;;) {
    http::request_parser<http::string_body> parser;
    parser.body_limit(largest_body);
    error_code ec;
    http::read(stream, buffer, parser, ec);
    if (ec == http::error::end_of_stream) {
      return;
    }
    if (ec) {
      throw system_error(ec);
    }
    request question = parser.release();
    response answer(http::status::ok, question.version());
    answer.set(http::field::location, question.target());
    answer.keep_alive(question.keep_alive());
    answer.body() = std::move(question.body());
    answer.prepare_payload();
    http::write(stream, answer);
    if (!answer.keep_alive()) {
      return;
    }
  }
}

response read_response(tcp_asio& stream, beast::flat_buffer& buffer) {
  http::response_parser<http::string_body> parser;
  parser.body_limit(largest_body);
  http::read(stream, buffer, parser);
  return parser.release();
}

class beast_http : public aramid::test::with_asio {};
ARAMID_ON_EACH_DRIVER(beast_http);

TEST_P(beast_http, a_connection_is_kept_alive_until_its_client_says_close) {
  run([] {
    asio_service service(mirror_requests);
    tcp_asio client = service.connect();
    beast::flat_buffer buffer;
    for (int i = 0; i < 50; ++i) {
      request question = make_post(target_of(i), "body " + std::to_string(i));
      question.keep_alive(i < 49);
      http::write(client, question);
      const response answer = read_response(client, buffer);
      EXPECT_EQ(answer[http::field::location], question.target());
      EXPECT_EQ(answer.body(), question.body());
      EXPECT_EQ(answer.keep_alive(), i < 49);
    }
    error_code ec;
    response none;
    http::read(client, buffer, none, ec);
    EXPECT_EQ(ec, http::error::end_of_stream);
    service.join();
    EXPECT_EQ(service.failures(), 0);
  });
}

TEST_P(beast_http, pipelined_requests_are_answered_in_their_order) {
  run([] {
    asio_service service(mirror_requests);
    tcp_asio client = service.connect();
    constexpr int requests = 200;
    fiber<> writing = spawn([&] {
      for (int i = 0; i < requests; ++i) {
        http::write(client, make_post(target_of(i), pattern_text(static_cast<std::size_t>(i))));
      }
      client.next_layer().shutdown(shutdown_how::write);
    });
    beast::flat_buffer buffer;
    for (int i = 0; i < requests; ++i) {
      const response answer = read_response(client, buffer);
      ASSERT_EQ(answer[http::field::location], target_of(i));
      ASSERT_EQ(answer.body(), pattern_text(static_cast<std::size_t>(i)));
    }
    writing.join();
    service.join();
    EXPECT_EQ(service.failures(), 0);
  });
}

TEST_P(beast_http, ten_megabytes_there_and_back) {
  run([] {
    asio_service service(mirror_requests);
    tcp_asio client = service.connect();
    const std::string body = pattern_text(std::size_t{10} << 20);
    http::write(client, make_post("/large", body));
    beast::flat_buffer buffer;
    const response answer = read_response(client, buffer);
    EXPECT_TRUE(answer.body() == body);
  });
}

TEST_P(beast_http, chunks_of_any_size_with_a_trailer) {
  run([] {
    asio_service service([](tcp_asio stream) {
      beast::flat_buffer buffer;
      request question;
      http::read(stream, buffer, question);
      EXPECT_TRUE(question.chunked());
      EXPECT_EQ(question["X-Sum"], "known at the end");
      response answer(http::status::ok, 11);
      answer.chunked(true);
      answer.body() = std::move(question.body());
      http::write(stream, answer);
    });
    tcp_asio client = service.connect();
    http::request<http::empty_body> question(http::verb::put, "/chunks", 11);
    question.set(http::field::trailer, "X-Sum");
    question.chunked(true);
    http::request_serializer<http::empty_body> head(question);
    http::write_header(client, head);
    const std::string body = pattern_text(100'000);
    std::mt19937 random(3);
    for (std::string_view rest = body; !rest.empty();) {
      const std::size_t size = std::min<std::size_t>(1 + random() % 5000, rest.size());
      asio::write(client, http::make_chunk(asio::buffer(rest.data(), size)));
      rest.remove_prefix(size);
    }
    http::fields trailer;
    trailer.set("X-Sum", "known at the end");
    asio::write(client, http::make_chunk_last(trailer));
    beast::flat_buffer buffer;
    const response answer = read_response(client, buffer);
    EXPECT_TRUE(answer.chunked());
    EXPECT_TRUE(answer.body() == body);
    service.join();
    EXPECT_EQ(service.failures(), 0);
  });
}

TEST_P(beast_http, a_body_is_sent_when_the_server_says_continue) {
  run([] {
    asio_service service([](tcp_asio stream) {
      beast::flat_buffer buffer;
      http::request_parser<http::string_body> parser;
      http::read_header(stream, buffer, parser);
      EXPECT_EQ(parser.get()[http::field::expect], "100-continue");
      EXPECT_EQ(buffer.size(), 0U);
      if (parser.get().target() == "/unwanted") {
        http::write(stream, http::response<http::empty_body>(http::status::expectation_failed, 11));
        return;
      }
      http::write(stream, http::response<http::empty_body>(http::status::continue_, 11));
      http::read(stream, buffer, parser);
      response answer(http::status::created, 11);
      answer.body() = parser.get().body();
      answer.prepare_payload();
      http::write(stream, answer);
    });
    for (const std::string target : {"/wanted", "/unwanted"}) {
      tcp_asio client = service.connect();
      request question = make_post(target, "what was announced");
      question.set(http::field::expect, "100-continue");
      http::request_serializer<http::string_body> sending(question);
      http::write_header(client, sending);
      beast::flat_buffer buffer;
      http::response<http::empty_body> verdict;
      http::read(client, buffer, verdict);
      if (target == "/unwanted") {
        EXPECT_EQ(verdict.result(), http::status::expectation_failed);
        continue;
      }
      EXPECT_EQ(verdict.result(), http::status::continue_);
      http::write(client, sending);
      const response answer = read_response(client, buffer);
      EXPECT_EQ(answer.result(), http::status::created);
      EXPECT_EQ(answer.body(), "what was announced");
    }
    service.join();
    EXPECT_EQ(service.failures(), 0);
  });
}

// Peers that do not finish what they began. `text` is all that they send.

error_code read_of(std::string_view text, bool reset) {
  tcp_listener listener(aramid::test::loopback);
  raw_socket peer(listener.local_endpoint());
  tcp_asio server(listener.accept());
  if (!text.empty()) {
    peer.write(text);
  }
  if (reset) {
    peer.reset();
  } else {
    peer.close();
  }
  beast::flat_buffer buffer;
  request question;
  error_code ec;
  http::read(server, buffer, question, ec);
  return ec;
}

TEST_P(beast_http, a_peer_that_ends_early_is_told_apart_by_where) {
  run([] {
    EXPECT_EQ(read_of("", false), http::error::end_of_stream);
    EXPECT_EQ(read_of("GET / HT", false), http::error::partial_message);
    EXPECT_EQ(read_of("GET / HTTP/1.1\r\nHost: te", false), http::error::partial_message);
    EXPECT_EQ(read_of("PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345", false), http::error::partial_message);
    EXPECT_EQ(read_of("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12", false),
              http::error::partial_message);
    EXPECT_EQ(read_of("GET / HTTP/1.1\r\n\r\n", false), error_code());
  });
}

TEST_P(beast_http, a_peer_that_resets_in_the_middle_is_a_reset) {
  run([] {
    EXPECT_EQ(read_of("", true), asio::error::connection_reset);
    EXPECT_EQ(read_of("GET / HT", true), asio::error::connection_reset);
    EXPECT_EQ(read_of("PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345", true), asio::error::connection_reset);
  });
}

TEST_P(beast_http, a_client_that_goes_in_the_middle_of_an_answer_ends_its_own_session_only) {
  run([] {
    asio_service service([](tcp_asio stream) {
      beast::flat_buffer buffer;
      request question;
      http::read(stream, buffer, question);
      response answer(http::status::ok, 11);
      answer.body() = pattern_text(question.target() == "/all" ? 1000 : std::size_t{32} << 20);
      answer.prepare_payload();
      http::write(stream, answer);
    });
    {
      raw_socket leaves(service.where());
      leaves.write("GET /lots HTTP/1.1\r\n\r\n");
      leaves.reset();
    }
    tcp_asio stays = service.connect();  // and is accepted after the other
    beast::flat_buffer buffer;
    http::write(stays, make_post("/all", ""));
    EXPECT_EQ(read_response(stays, buffer).body(), pattern_text(1000));
    service.join();
    EXPECT_EQ(service.failures(), 1);
  });
}

// Cancellation and deadlines.

TEST_P(beast_http, servers_that_are_cancelled_in_the_middle_let_their_clients_know) {
  run([] {
    asio_service service(mirror_requests);
    constexpr int clients = 20;
    std::vector<tcp_asio> waiting;
    beast::flat_buffer buffer;
    for (int i = 0; i < clients; ++i) {
      waiting.push_back(service.connect());
      http::write(waiting.back(), make_post("/first", ""));
      (void)read_response(waiting.back(), buffer);
      const std::string_view half = i % 2 == 0 ? "POST /half HT" : "POST /half HTTP/1.1\r\nContent-Length: 100\r\n\r\nfew";
      asio::write(waiting.back(), asio::buffer(half.data(), half.size()));
    }
    service.cancel();
    service.join();
    EXPECT_EQ(service.failures(), 0);
    for (tcp_asio& client : waiting) {
      response none;
      error_code ec;
      http::read(client, buffer, none, ec);
      // What a session had not read yet when it was closed, the kernel answers with a reset.
      EXPECT_TRUE(ec == http::error::end_of_stream || ec == asio::error::connection_reset) << ec.message();
    }
  });
}

// A reader of requests is cancelled all the time at about the moment at which they arrive, in the middle of Beast's parser. With the
// same buffer and parser the next one goes on where it was: every request is read once, whole.
TEST_P(beast_http, a_cut_short_read_goes_on_where_it_was) {
  run([] {
    auto [client, server] = make_asio_pair();
    client.next_layer().no_delay(true);
    const int requests = scaled(300, 20);
    counting_semaphore<> cut_short(0);
    fiber<> writing = spawn([&, &client = client] {
      std::mt19937 random(1);
      for (int i = 0; i < requests; ++i) {
        std::string text = "PUT " + target_of(i) + " HTTP/1.1\r\nX-Number: " + std::to_string(i) + "\r\n";
        const std::string body = pattern_text(static_cast<std::size_t>(i) % 64, static_cast<std::uint64_t>(i));
        text += i % 2 == 0 ? "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body
                           : "Transfer-Encoding: chunked\r\n\r\n" + chunk_of(body) + "0\r\n\r\n";
        aramid::test::write_between_cuts(
            text.size(), cut_short,
            [&](std::size_t from, std::size_t size) { asio::write(client, asio::buffer(text.data() + from, size)); }, random, 12);
      }
    });
    beast::flat_buffer buffer;
    std::mt19937 random(2);
    for (int i = 0; i < requests; ++i) {
      http::request_parser<http::string_body> parser;
      while (!parser.is_done()) {
        aramid::test::cancel_soon(random, [&, &server = server] {
          try {
            http::read(server, buffer, parser);
          } catch (const cancelled&) {
            cut_short.release();
          }
        });
      }
      ASSERT_EQ(parser.get().target(), target_of(i));
      ASSERT_EQ(parser.get()["X-Number"], std::to_string(i));
      ASSERT_EQ(parser.get().body(), pattern_text(static_cast<std::size_t>(i) % 64, static_cast<std::uint64_t>(i)));
    }
    writing.join();
    EXPECT_EQ(buffer.size(), 0U);
  });
}

TEST_P(beast_http, a_cut_short_write_goes_on_where_it_was) {
  run([] {
    auto [client, server] = make_asio_pair();
    response answer(http::status::ok, 11);
    answer.chunked(true);
    answer.body() = pattern_text(std::size_t{8} << 20);
    http::response_serializer<http::string_body> sending(answer);
    // Nobody reads yet, so the first deadline cuts it short in the middle.
    EXPECT_FALSE(try_with_timeout(20ms, [&, &server = server] { http::write(server, sending); }));
    ASSERT_FALSE(sending.is_done());
    fiber<bool> reading = spawn([&, &client = client] {
      beast::flat_buffer buffer;
      return read_response(client, buffer).body() == answer.body();
    });
    std::mt19937 random(1);
    while (!sending.is_done()) {
      fiber<> writing = spawn([&, &server = server] { http::write(server, sending); });
      for (unsigned turns = random() % 4; turns > 0; --turns) {
        this_fiber::yield();
      }
      writing.cancel();
      writing.wait();
    }
    EXPECT_TRUE(reading.join());
  });
}

TEST_P(beast_http, a_deadline_ends_a_read_and_the_connection_can_be_used_on) {
  run([] {
    auto [client, server] = make_asio_pair();
    beast::flat_buffer buffer;
    http::request_parser<http::string_body> parser;
    EXPECT_THROW(with_timeout(5ms, [&, &server = server] { http::read(server, buffer, parser); }), timeout_error);
    http::write(client, make_post("/late", "but whole"));
    with_timeout(1h, [&, &server = server] { http::read(server, buffer, parser); });
    EXPECT_EQ(parser.get().body(), "but whole");
  });
}

TEST_P(beast_http, many_connections_each_get_their_own_answers) {
  run([] {
    constexpr int connections = 100;
    asio_service service(mirror_requests);
    with_task_group([&](task_group& group) {
      for (int c = 0; c < connections; ++c) {
        group.spawn([&service, c] {
          tcp_asio client = service.connect();
          beast::flat_buffer buffer;
          for (int i = 0; i < 10; ++i) {
            const std::string target = target_of(c) + target_of(i);
            const std::string body = pattern_text(500, static_cast<std::uint64_t>(1000 * c + i));
            http::write(client, make_post(target, body));
            const response answer = read_response(client, buffer);
            ASSERT_EQ(answer[http::field::location], target);
            ASSERT_TRUE(answer.body() == body);
          }
        });
      }
    });
    service.join();
    EXPECT_EQ(service.failures(), 0);
  });
}

}  // namespace
