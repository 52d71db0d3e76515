// TCP between two ends that both behave.
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "leak_check.hpp"
#include "tcp_pair.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::loopback;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;
using aramid::test::pattern_at;

class tcp : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp);

void echo(tcp_stream stream) {
  std::array<std::byte, 4096> buffer;
  while (const std::size_t n = stream.read_some(buffer)) {
    stream.write_all(std::span(buffer).first(n));
  }
}

TEST_P(tcp, echo_round_trips) {
  run([] {
    auto [client, server] = make_tcp_pair();
    fiber<> echoing = spawn([server = std::move(server)]() mutable { echo(std::move(server)); });
    std::array<char, 5> reply;
    for (int i = 0; i < 200; ++i) {
      client.write_all("hello");
      client.read_exactly(reply);
      EXPECT_EQ(std::string_view(reply.data(), reply.size()), "hello");
    }
    client.shutdown(shutdown_how::write);
    EXPECT_EQ(client.read_some(reply), 0U);
    echoing.join();
    const statistics after = stats();
    EXPECT_GE(after.submissions, 4U * 200U);
  });
}

TEST_P(tcp, one_mebibyte_arrives_unchanged_in_reads_of_any_size) {
  run([] {
    auto [client, server] = make_tcp_pair();
    constexpr std::size_t total = std::size_t{1} << 20;
    fiber<> writing = spawn([&, data = pattern(total)] {
      client.write_all(data);
      client.shutdown(shutdown_how::write);
    });
    std::vector<std::byte> buffer(70'000);
    std::size_t got = 0;
    std::size_t size = 1;
    while (const std::size_t n = server.read_some(std::span(buffer).first(size))) {
      ASSERT_LE(n, size);
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(buffer[i], pattern_at(got + i));
      }
      got += n;
      size = size * 3 % buffer.size() + 1;
    }
    EXPECT_EQ(got, total);
    writing.join();
  });
}

TEST_P(tcp, both_directions_at_once_on_one_stream) {
  run([] {
    auto [client, server] = make_tcp_pair();
    constexpr std::size_t total = std::size_t{1} << 20;
    const auto data = pattern(total);
    fiber<> echoing = spawn([server = std::move(server)]() mutable { echo(std::move(server)); });
    fiber<> writing = spawn([&] {
      client.write_all(data);
      client.shutdown(shutdown_how::write);
    });
    std::vector<std::byte> back(total);
    client.read_exactly(back);
    EXPECT_TRUE(back == data);
    std::array<std::byte, 1> more;
    EXPECT_EQ(client.read_some(more), 0U);
    writing.join();
    echoing.join();
  });
}

TEST_P(tcp, many_connections_each_get_their_own_bytes_back) {
  run([] {
    constexpr int connections = 200;
    tcp_listener listener(loopback);
    fiber<> serving = spawn([&] {
      with_task_group([&](task_group& group) {
        for (int i = 0; i < connections; ++i) {
          group.spawn([stream = listener.accept()]() mutable { echo(std::move(stream)); });
        }
      });
    });
    with_task_group([&](task_group& group) {
      for (int i = 0; i < connections; ++i) {
        group.spawn([i, where = listener.local_endpoint()] {
          tcp_stream stream = connect(where);
          for (int round = 0; round < 10; ++round) {
            const auto data = pattern(300, static_cast<std::uint64_t>(1000 * i + round));
            stream.write_all(data);
            std::vector<std::byte> back(data.size());
            stream.read_exactly(back);
            ASSERT_TRUE(back == data);
          }
        });
      }
    });
    serving.join();
  });
}

TEST_P(tcp, half_close_lets_the_other_half_go_on) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.write_all("question");
    client.shutdown(shutdown_how::write);
    std::string question;
    std::array<char, 3> buffer;
    while (const std::size_t n = server.read_some(buffer)) {
      question.append(buffer.data(), n);
    }
    EXPECT_EQ(question, "question");
    server.write_all("answer");
    std::array<char, 6> answer;
    client.read_exactly(answer);
    EXPECT_EQ(std::string_view(answer.data(), answer.size()), "answer");
  });
}

TEST_P(tcp, trickle_of_single_bytes_fills_an_exact_read) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.no_delay(true);
    fiber<> writing = spawn([&] {
      for (const char c : std::string_view("trickle")) {
        client.write_all(std::string_view(&c, 1));
        this_fiber::sleep_for(1ms);
      }
    });
    std::array<char, 7> buffer;
    server.read_exactly(buffer);
    EXPECT_EQ(std::string_view(buffer.data(), buffer.size()), "trickle");
    writing.join();
  });
}

TEST_P(tcp, end_of_stream_is_zero_again_and_again_and_no_error) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.close();
    std::array<std::byte, 8> buffer;
    std::error_code ec = std::make_error_code(std::errc::io_error);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(server.read_some(buffer, ec), 0U);
      EXPECT_FALSE(ec);
    }
  });
}

TEST_P(tcp, empty_buffers_transfer_nothing) {
  run([] {
    auto [client, server] = make_tcp_pair();
    std::error_code ec;
    EXPECT_EQ(server.read_some(std::span<std::byte>()), 0U);
    server.read_exactly(std::span<std::byte>());
    EXPECT_EQ(client.write_some(std::string_view()), 0U);
    EXPECT_EQ(client.write_all(std::string_view(), ec), 0U);
    EXPECT_FALSE(ec);
  });
}

TEST_P(tcp, exact_read_past_the_end_keeps_the_bytes) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.write_all("abc");
    client.close();
    std::array<char, 8> buffer;
    try {
      server.read_exactly(buffer);
      FAIL();
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), errc::end_of_stream);
      EXPECT_NE(std::string(e.what()).find("read_exactly"), std::string::npos) << e.what();
    }
    std::error_code ec;
    server.read_exactly(buffer, ec);
    EXPECT_EQ(ec, errc::end_of_stream);
    server.read_exactly(std::span(buffer).first(2));
    EXPECT_EQ(std::string_view(buffer.data(), 2), "ab");
    EXPECT_EQ(server.read_some(buffer), 1U);
    EXPECT_EQ(buffer[0], 'c');
    EXPECT_EQ(server.read_some(buffer), 0U);
  });
}

TEST_P(tcp, endpoints_name_both_ends) {
  run([] {
    tcp_listener listener(loopback);
    tcp_stream client = connect(listener.local_endpoint());
    tcp_stream server = listener.accept();
    EXPECT_NE(listener.local_endpoint().port(), 0);
    EXPECT_EQ(client.remote_endpoint(), listener.local_endpoint());
    EXPECT_EQ(server.remote_endpoint(), client.local_endpoint());
    EXPECT_EQ(server.local_endpoint(), client.remote_endpoint());
  });
}

TEST_P(tcp, ipv6_works_alike) {
  run([] {
    std::error_code ec;
    tcp_listener listener(endpoint("::1", 0), {}, ec);
    if (ec) {
      GTEST_SKIP() << "no IPv6 loopback: " << ec.message();
    }
    tcp_stream client = connect(listener.local_endpoint());
    tcp_stream server = listener.accept();
    client.write_all("six");
    std::array<char, 3> buffer;
    server.read_exactly(buffer);
    EXPECT_EQ(std::string_view(buffer.data(), 3), "six");
    EXPECT_EQ(server.remote_endpoint().family(), AF_INET6);
  });
}

TEST_P(tcp, several_fibers_may_accept_on_one_listener) {
  run([] {
    constexpr int acceptors = 4;
    tcp_listener listener(loopback);
    std::vector<fiber<>> accepting;
    for (int i = 0; i < acceptors; ++i) {
      accepting.push_back(spawn([&] { echo(listener.accept()); }));
    }
    for (int i = 0; i < acceptors; ++i) {
      tcp_stream client = connect(listener.local_endpoint());
      client.write_all("x");
      std::array<char, 1> back;
      client.read_exactly(back);
    }
    for (fiber<>& one : accepting) {
      one.join();
    }
  });
}

TEST_P(tcp, adopted_descriptor_that_does_not_block_is_waited_for) {
  run([] {
    std::array<int, 2> fds{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()), 0);
    tcp_stream a = tcp_stream::adopt(fds[0]);
    tcp_stream b = tcp_stream::adopt(fds[1]);
    constexpr std::size_t total = std::size_t{1} << 20;
    fiber<> writing = spawn([&, data = pattern(total)] { a.write_all(data); });
    std::vector<std::byte> back(total);
    b.read_exactly(back);
    EXPECT_TRUE(back == pattern(total));
    writing.join();
  });
}

TEST_P(tcp, released_descriptor_is_the_callers) {
  run([] {
    auto [client, server] = make_tcp_pair();
    const int fd = client.native_handle();
    ASSERT_GE(fd, 0);
    EXPECT_EQ(client.release(), fd);
    EXPECT_FALSE(client.is_open());
    EXPECT_EQ(client.native_handle(), -1);
    EXPECT_EQ(client.release(), -1);
    client.close();
    tcp_stream again = tcp_stream::adopt(fd);
    again.write_all("x");
    std::array<char, 1> back;
    server.read_exactly(back);
    EXPECT_FALSE(tcp_stream::adopt(-1).is_open());
  });
}

TEST_P(tcp, a_moved_stream_goes_on_where_it_was) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.write_all("abc");
    client.close();
    std::array<char, 8> buffer;
    std::error_code ec;
    server.read_exactly(buffer, ec);
    tcp_stream moved = std::move(server);
    EXPECT_EQ(aramid::test::read_text(moved, 3), "abc");
  });
}

// That a fiber which submitted on one worker and went on on another still gets what is its own.
TEST_P(tcp, operations_survive_migration) {
  if (GetParam().workers < 2) {
    GTEST_SKIP() << "one worker: no migration";
  }
  run([] {
    constexpr int connections = 32;
    const auto seen = [] {
      const statistics now = stats();
      return now.migrations != 0 && now.steals != 0;
    };
    tcp_listener listener(loopback);
    fiber<> serving = spawn([&] {
      with_task_group([&](task_group& group) {
        for (int i = 0; i < connections; ++i) {
          group.spawn([stream = listener.accept()]() mutable { echo(std::move(stream)); });
        }
      });
    });
    with_task_group([&](task_group& group) {
      // Whoever waits beside it is stolen. Should it have a worker to itself, it tries its luck again later.
      group.spawn([&] {
        while (!seen()) {
          const auto until = std::chrono::steady_clock::now() + 100ms;
          while (!seen() && std::chrono::steady_clock::now() < until) {
          }
          this_fiber::yield();
        }
      });
      for (int i = 0; i < connections; ++i) {
        group.spawn([&seen, i, where = listener.local_endpoint()] {
          tcp_stream stream = connect(where);
          for (int round = 0; round < 300 || !seen(); ++round) {
            const auto data = pattern(64, static_cast<std::uint64_t>(i * 1000 + round));
            stream.write_all(data);
            std::array<std::byte, 64> back;
            stream.read_exactly(back);
            ASSERT_TRUE(std::equal(back.begin(), back.end(), data.begin()));
          }
        });
      }
    });
    serving.join();
    EXPECT_GT(stats().migrations, 0U);
    EXPECT_GT(stats().steals, 0U);
  });
}

}  // namespace
