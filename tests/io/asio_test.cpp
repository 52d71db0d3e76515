// asio_stream under Asio's own functions: errors, ends, buffers. Cancellation: asio_cancel_test.cpp.
#include <aramid/io/asio.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/stream_traits.hpp>

#include <aramid/cancel.hpp>
#include <aramid/event.hpp>
#include <aramid/promise.hpp>

#include "asio_fixture.hpp"
#include "tests/runtime/scale.hpp"

namespace {

using namespace aramid;
using namespace aramid::io;
using aramid::test::make_asio_pair;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;
using aramid::test::raw_socket;
using aramid::test::scaled;
using aramid::test::tcp_asio;
using aramid::test::text_of;
namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;
using boost::system::system_error;

// What Beast and Asio ask of a stream.
static_assert(beast::is_sync_stream<tcp_asio>::value);
static_assert(beast::is_sync_stream<asio_stream<tcp_stream&>>::value);
static_assert(beast::has_get_executor<tcp_asio>::value);
static_assert(asio::execution::is_executor<fiber_executor>::value);
static_assert(std::is_constructible_v<asio::any_io_executor, fiber_executor>);
static_assert(asio::execution::blocking_t::never == fiber_executor::query(asio::execution::blocking_t()));
static_assert(std::is_same_v<beast::lowest_layer_type<tcp_asio>, tcp_stream>);
static_assert(std::is_same_v<tcp_asio::lowest_layer_type::executor_type, fiber_executor>);
// What it stands on, and what it does not.
static_assert(blocking_stream<tcp_stream>);
// The calls by which several buffers go in one operation.
static_assert(requires(tcp_stream& stream, std::span<const std::span<std::byte>> into, std::span<const std::span<const std::byte>> from,
                       std::error_code& ec) {
  { stream.read_some(into, ec) } -> std::same_as<std::size_t>;
  { stream.write_some(from, ec) } -> std::same_as<std::size_t>;
});
static_assert(!blocking_stream<tcp_asio> && !blocking_stream<tcp_listener>);
static_assert(std::is_nothrow_move_constructible_v<tcp_asio> && std::is_move_assignable_v<tcp_asio>);
static_assert(!std::is_copy_constructible_v<tcp_asio>);

/// The code of the boost::system::system_error that `call` throws, whose text names `operation`.
template <class Call>
error_code code_thrown_by(std::string_view operation, Call&& call) {
  try {
    call();
  } catch (const system_error& e) {
    EXPECT_EQ(std::string_view(e.what()).substr(0, operation.size()), operation);
    return e.code();
  }
  ADD_FAILURE() << operation << " did not throw";
  return {};
}

class asio_streams : public aramid::test::with_asio {};
ARAMID_ON_EACH_DRIVER(asio_streams);

TEST_P(asio_streams, asios_read_and_write_move_everything_in_both_forms) {
  run([] {
    auto [client, server] = make_asio_pair();
    const auto data = pattern(300'000);
    fiber<> writing = spawn([&, &client = client] {
      error_code ec = asio::error::eof;
      const std::array<asio::const_buffer, 4> parts{asio::buffer(data.data(), 1), asio::const_buffer(),
                                                    asio::buffer(data.data() + 1, 99'999),
                                                    asio::buffer(data.data() + 100'000, 100'000)};
      EXPECT_EQ(asio::write(client, parts, ec), 200'000U);
      EXPECT_FALSE(ec);
      EXPECT_EQ(asio::write(client, asio::buffer(data.data() + 200'000, 100'000)), 100'000U);
    });
    std::vector<std::byte> back(data.size());
    const std::array<asio::mutable_buffer, 3> parts{asio::buffer(back.data(), 7), asio::mutable_buffer(),
                                                    asio::buffer(back.data() + 7, 149'993)};
    EXPECT_EQ(asio::read(server, parts), 150'000U);
    error_code ec = asio::error::eof;
    EXPECT_EQ(asio::read(server, asio::buffer(back.data() + 150'000, 150'000), ec), 150'000U);
    EXPECT_FALSE(ec);
    EXPECT_TRUE(back == data);
    EXPECT_EQ(server.bytes_read(), data.size());
    writing.join();
    EXPECT_EQ(client.bytes_written(), data.size());
  });
}

TEST_P(asio_streams, the_end_is_eof) {
  run([] {
    auto [client, server] = make_asio_pair();
    asio::write(client, asio::buffer("abc", 3));
    client.next_layer().shutdown(shutdown_how::write);
    std::array<char, 8> buffer;
    error_code ec;
    EXPECT_EQ(asio::read(server, asio::buffer(buffer), ec), 3U);
    EXPECT_EQ(ec, asio::error::eof);
    EXPECT_EQ(server.read_some(asio::buffer(buffer), ec), 0U);
    EXPECT_EQ(ec, asio::error::eof);
    const error_code thrown =
        code_thrown_by("asio_stream::read_some", [&, &server = server] { server.read_some(asio::buffer(buffer)); });
    EXPECT_EQ(thrown, asio::error::eof);
  });
}

TEST_P(asio_streams, empty_buffers_are_neither_an_end_nor_an_error) {
  run([] {
    auto [client, server] = make_asio_pair();
    client.next_layer().shutdown(shutdown_how::write);
    const std::array<asio::mutable_buffer, 2> empty_parts;
    const std::vector<asio::mutable_buffer> none;
    error_code ec = asio::error::eof;
    EXPECT_EQ(server.read_some(asio::mutable_buffer(), ec), 0U);
    EXPECT_FALSE(ec);
    EXPECT_EQ(server.read_some(empty_parts), 0U);
    EXPECT_EQ(server.read_some(none), 0U);
    EXPECT_EQ(server.write_some(asio::const_buffer()), 0U);
    ec = asio::error::eof;
    EXPECT_EQ(server.write_some(none, ec), 0U);
    EXPECT_FALSE(ec);
  });
}

TEST_P(asio_streams, errors_of_the_system_are_asios) {
  run([] {
    tcp_listener listener(aramid::test::loopback);
    raw_socket client(listener.local_endpoint());
    tcp_asio server(listener.accept());
    client.reset();
    std::array<char, 8> buffer;
    error_code ec;
    EXPECT_EQ(server.read_some(asio::buffer(buffer), ec), 0U);
    EXPECT_EQ(ec, asio::error::connection_reset);
    EXPECT_EQ(ec, boost::system::errc::connection_reset);
    EXPECT_EQ(server.write_some(asio::buffer("x", 1), ec), 0U);
    EXPECT_EQ(ec, asio::error::broken_pipe);
    const error_code thrown =
        code_thrown_by("asio_stream::write_some", [&] { server.write_some(asio::buffer("x", 1)); });
    EXPECT_EQ(thrown, asio::error::broken_pipe);
  });
}

TEST_P(asio_streams, a_close_under_a_call_or_before_it_is_operation_aborted) {
  run([] {
    auto [client, server] = make_asio_pair();
    std::array<char, 8> buffer;
    error_code ec;
    event about_to_read;
    fiber<> reading = spawn([&, &server = server] {
      about_to_read.set();
      server.read_some(asio::buffer(buffer), ec);
    });
    about_to_read.wait();
    server.close();
    reading.join();
    EXPECT_EQ(ec, asio::error::operation_aborted);
    EXPECT_EQ(server.write_some(asio::buffer("x", 1), ec), 0U);
    EXPECT_EQ(ec, asio::error::operation_aborted);
    tcp_asio never_open;
    EXPECT_EQ(never_open.read_some(asio::buffer(buffer), ec), 0U);
    EXPECT_EQ(ec, asio::error::operation_aborted);
    client.close(ec);
    EXPECT_FALSE(ec);
    EXPECT_FALSE(client.next_layer().is_open());
  });
}

TEST_P(asio_streams, misuse_stays_a_logic_error) {
  run([] {
    auto [client, server] = make_asio_pair();
    // Whoever comes second is refused; the first one is ended by a cancellation.
    const auto read = [&server = server] {
      std::array<char, 8> buffer;
      error_code ec;
      server.read_some(asio::buffer(buffer), ec);
    };
    fiber<> one = spawn(read);
    fiber<> two = spawn(read);
    const bool refused_one = [&] {
      while (!one.done() && !two.done()) {
        this_fiber::yield();
      }
      return one.done();
    }();
    EXPECT_THROW((refused_one ? one : two).join(), std::logic_error);
    (refused_one ? two : one).cancel();
    EXPECT_THROW((refused_one ? two : one).join(), fiber_cancelled);
  });
}

TEST_P(asio_streams, over_a_reference_they_leave_the_stream_to_its_owner) {
  run([] {
    auto [client, server] = make_tcp_pair();
    {
      asio_stream by_reference(client);
      static_assert(std::is_same_v<decltype(by_reference), asio_stream<tcp_stream&>>);
      EXPECT_EQ(&by_reference.next_layer(), &client);
      asio::write(by_reference, asio::buffer("abc", 3));
    }
    ASSERT_TRUE(client.is_open());
    asio_stream moved(std::move(client));
    static_assert(std::is_same_v<decltype(moved), tcp_asio>);
    asio::write(moved, asio::buffer("def", 3));
    std::array<char, 6> buffer;
    server.read_exactly(buffer);
    EXPECT_EQ(std::string_view(buffer.data(), buffer.size()), "abcdef");
    EXPECT_EQ(moved.bytes_written(), 3U);
  });
}

TEST_P(asio_streams, a_plain_thread_may_use_one) {
  run([] {
    auto [client, server] = make_asio_pair();
    promise<std::string> received;
    future<std::string> answer = received.get_future();
    std::thread outsider([&, &server = server] {
      std::string line;
      asio::read_until(server, asio::dynamic_buffer(line), '\n');
      received.set_value(line);
    });
    asio::write(client, asio::buffer("hello\n", 6));
    EXPECT_EQ(answer.get(), "hello\n");
    outsider.join();
  });
}

TEST_P(asio_streams, close_socket_and_teardown_close) {
  run([] {
    auto [client, server] = make_asio_pair();
    beast::close_socket(beast::get_lowest_layer(client));
    EXPECT_FALSE(client.next_layer().is_open());
    beast::close_socket(server);
    EXPECT_FALSE(server.next_layer().is_open());

    // Each role drains what the other one still sends, the server with its own side closed first.
    auto ends = make_asio_pair();
    const auto data = pattern(500'000);
    error_code client_ec = asio::error::eof;
    error_code server_ec = asio::error::eof;
    fiber<> client_end = spawn([&] {
      asio::write(ends.client, asio::buffer(data.data(), data.size()));
      teardown(beast::role_type::client, ends.client, client_ec);
    });
    teardown(beast::role_type::server, ends.server, server_ec);
    client_end.join();
    EXPECT_FALSE(client_ec) << client_ec.message();
    EXPECT_FALSE(server_ec) << server_ec.message();
    EXPECT_EQ(ends.server.bytes_read(), data.size());
    EXPECT_FALSE(ends.client.next_layer().is_open());
    EXPECT_FALSE(ends.server.next_layer().is_open());

    tcp_listener listener(aramid::test::loopback);
    raw_socket peer(listener.local_endpoint());
    tcp_asio left(listener.accept());
    peer.reset();
    error_code ec;
    teardown(beast::role_type::client, left, ec);
    EXPECT_EQ(ec, asio::error::connection_reset);
    EXPECT_FALSE(left.next_layer().is_open());
  });
}

TEST_P(asio_streams, read_until_finds_lines_wherever_they_are_cut) {
  run([] {
    auto [client, server] = make_asio_pair();
    client.next_layer().no_delay(true);
    const int lines = scaled(2'000, 200);
    fiber<> writing = spawn([&, &client = client] {
      std::string text;
      for (int i = 0; i < lines; ++i) {
        text += std::to_string(i) + "\r\n";
      }
      std::mt19937 random(1);
      for (std::string_view rest = text; !rest.empty();) {
        const std::size_t size = std::min<std::size_t>(1 + random() % 9, rest.size());
        asio::write(client, asio::buffer(rest.data(), size));
        rest.remove_prefix(size);
      }
    });
    asio::streambuf buffer;
    for (int i = 0; i < lines; ++i) {
      const std::string expected = std::to_string(i) + "\r\n";
      ASSERT_EQ(asio::read_until(server, buffer, "\r\n"), expected.size());
      ASSERT_EQ(text_of(buffer).substr(0, expected.size()), expected);
      buffer.consume(expected.size());
    }
    writing.join();
  });
}

// What becomes of a sequence of buffers.

/// Remembers what it was asked for.
struct one_buffer_stream {
  std::vector<std::size_t> asked;

  std::size_t read_some(std::span<std::byte> buffer, std::error_code&) {
    asked.push_back(buffer.size());
    return buffer.size();
  }
  std::size_t write_some(std::span<const std::byte> data, std::error_code&) {
    asked.push_back(data.size());
    return data.size();
  }
  void close() {}
};

struct vectored_stream : one_buffer_stream {
  using one_buffer_stream::read_some;
  using one_buffer_stream::write_some;

  std::size_t read_some(std::span<const std::span<std::byte>> buffers, std::error_code&) { return count(buffers); }
  std::size_t write_some(std::span<const std::span<const std::byte>> data, std::error_code&) { return count(data); }

  template <class Parts>
  std::size_t count(const Parts& parts) {
    std::size_t sum = 0;
    for (const auto& part : parts) {
      asked.push_back(part.size());
      sum += part.size();
    }
    return sum;
  }
};

std::vector<asio::mutable_buffer> buffers_of(std::vector<char>& memory, const std::vector<std::size_t>& sizes) {
  std::vector<asio::mutable_buffer> buffers;
  for (const std::size_t size : sizes) {
    buffers.emplace_back(memory.data(), size);
  }
  return buffers;
}

using sizes = std::vector<std::size_t>;

TEST(asio_buffers, the_first_that_is_not_empty_where_a_call_takes_one) {
  std::vector<char> memory(100);
  asio_stream<one_buffer_stream> stream;
  EXPECT_EQ(stream.read_some(buffers_of(memory, {0, 0, 3, 5})), 3U);
  EXPECT_EQ(stream.write_some(buffers_of(memory, {0, 4, 0, 2})), 4U);
  EXPECT_EQ(stream.read_some(buffers_of(memory, {0, 0})), 0U);
  EXPECT_EQ(stream.next_layer().asked, (sizes{3, 4, 0}));
}

TEST(asio_buffers, all_of_them_where_a_call_takes_several) {
  std::vector<char> memory(100);
  asio_stream<vectored_stream> stream;
  EXPECT_EQ(stream.read_some(buffers_of(memory, {0, 3, 0, 5, 1})), 9U);
  EXPECT_EQ(stream.next_layer().asked, (sizes{3, 5, 1}));
  stream.next_layer().asked.clear();
  EXPECT_EQ(stream.write_some(buffers_of(memory, {0, 7})), 7U);
  EXPECT_EQ(stream.write_some(buffers_of(memory, {})), 0U);
  EXPECT_EQ(stream.next_layer().asked, (sizes{7, 0}));
  stream.next_layer().asked.clear();
  // More parts than one call takes: the rest is left to the next one.
  EXPECT_EQ(stream.write_some(buffers_of(memory, sizes(40, 2))), 32U);
  EXPECT_EQ(asio::write(stream, buffers_of(memory, sizes(40, 2))), 80U);
  EXPECT_EQ(stream.bytes_written(), 7U + 32U + 80U);
}

// Error codes.

class weather_category final : public std::error_category {
public:
  [[nodiscard]] const char* name() const noexcept override { return "weather"; }
  [[nodiscard]] std::string message(int code) const override { return "storm " + std::to_string(code); }
  [[nodiscard]] std::error_condition default_error_condition(int code) const noexcept override {
    return code == 1 ? std::make_error_condition(std::errc::host_unreachable) : std::error_condition(code, *this);
  }
};

TEST(asio_errors, keep_their_meaning) {
  EXPECT_FALSE(asio_error({}));
  EXPECT_EQ(asio_error({ECONNREFUSED, std::system_category()}), asio::error::connection_refused);
  EXPECT_EQ(asio_error(std::make_error_code(std::errc::timed_out)), boost::system::errc::timed_out);
  EXPECT_EQ(asio_error(errc::end_of_stream), asio::error::eof);
  EXPECT_EQ(asio_error(errc::closed), asio::error::operation_aborted);
  EXPECT_EQ(asio_error(errc::closed), boost::system::errc::operation_canceled);
}

TEST(asio_errors, of_other_categories_are_carried_along) {
  const weather_category weather;
  const error_code storm = asio_error({7, weather});
  EXPECT_EQ(storm.value(), 7);
  EXPECT_STREQ(storm.category().name(), "weather");
  EXPECT_EQ(storm.message(), "storm 7");
  EXPECT_EQ(storm, asio_error({7, weather}));
  EXPECT_NE(storm, asio_error({8, weather}));
  EXPECT_NE(storm, asio::error::eof);
  EXPECT_EQ(asio_error({1, weather}), boost::system::errc::host_unreachable);
}

TEST(asio_errors, of_a_category_have_one_category_whichever_thread_came_first) {
  const std::array<weather_category, 32> weathers;
  std::array<std::array<const boost::system::error_category*, weathers.size()>, 4> seen{};
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  for (auto& mine : seen) {
    threads.emplace_back([&] {
      ++ready;
      while (ready < 4) {
      }
      for (std::size_t i = 0; i < weathers.size(); ++i) {
        mine[i] = &asio_error({1, weathers[i]}).category();
      }
    });
  }
  for (std::thread& each : threads) {
    each.join();
  }
  for (const auto& mine : seen) {
    EXPECT_EQ(mine, seen[0]);
  }
  EXPECT_EQ(std::set<const void*>(seen[0].begin(), seen[0].end()).size(), weathers.size());
}

// The executor.

TEST_P(asio_streams, what_is_posted_to_the_executor_runs_on_a_fiber) {
  run([] {
    tcp_asio stream;
    promise<fiber_id> ran;
    future<fiber_id> where = ran.get_future();
    asio::post(stream.get_executor(), [&] {
      this_fiber::yield();
      ran.set_value(this_fiber::get_id());
    });
    const fiber_id other = where.get();
    EXPECT_NE(other, fiber_id());
    EXPECT_NE(other, this_fiber::get_id());
    EXPECT_EQ(stream.get_executor(), fiber_executor());
    EXPECT_EQ(asio::any_io_executor(stream.get_executor()), asio::any_io_executor(fiber_executor()));
  });
  EXPECT_THROW(asio::post(fiber_executor(), [] {}), std::logic_error);
}

}  // namespace
