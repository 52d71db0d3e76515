// tcp_stream::receive: bytes in lent memory.
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/semaphore.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "io/src/uring/lent_buffers.hpp"
#include "cut_short.hpp"
#include "leak_check.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/scale.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;
using aramid::test::pattern_at;
using aramid::test::scaled;

class tcp_receive : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp_receive);

bool is_pattern(const received_bytes& bytes, std::size_t from) {
  return std::all_of(bytes.begin(), bytes.end(), [&](std::byte each) { return each == pattern_at(from++); });
}

TEST_P(tcp_receive, gives_what_came_and_nothing_at_the_end) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.write_all("abc");
    std::string text;
    while (text.size() < 3) {
      text += server.receive().text();
    }
    EXPECT_EQ(text, "abc");
    client.shutdown(shutdown_how::write);
    EXPECT_FALSE(server.receive());
    EXPECT_TRUE(server.receive().empty());
    server.close();
    std::error_code ec;
    EXPECT_FALSE(server.receive(ec));
    EXPECT_EQ(ec, errc::closed);
    EXPECT_THROW((void)server.receive(), std::system_error);
    EXPECT_FALSE(tcp_stream().receive(ec));
    EXPECT_EQ(ec, errc::closed);
  });
}

TEST_P(tcp_receive, echoes_as_it_came) {
  run([] {
    auto [client, server] = make_tcp_pair();
    const auto data = pattern(1'000'000);
    fiber<> echoing = spawn([&server = server] {
      while (const received_bytes bytes = server.receive()) {
        server.write_all(bytes);
      }
      server.shutdown(shutdown_how::write);
    });
    fiber<> writing = spawn([&, &client = client] {
      client.write_all(data);
      client.shutdown(shutdown_how::write);
    });
    std::vector<std::byte> back(data.size());
    client.read_exactly(back);
    EXPECT_TRUE(back == data);
    EXPECT_FALSE(client.receive());
    writing.join();
    echoing.join();
  });
}

TEST_P(tcp_receive, what_is_kept_is_nobody_elses) {
  // More than a worker's ring has: later ones are the heap's.
  constexpr std::size_t many = detail::lent_buffers::count + 200;
  std::vector<received_bytes> kept;
  run([&] {
    auto [client, server] = make_tcp_pair();
    std::size_t got = 0;
    while (kept.size() != many) {
      const std::size_t size = 1 + kept.size() % 5;
      client.write_all(pattern(size, got));
      for (const std::size_t end = got + size; got != end;) {
        kept.push_back(server.receive());
        got += kept.back().size();
      }
      kept.resize(std::min(kept.size(), many));
    }
  });
  // The stream is gone, and the runtime, and another thread gives them back.
  std::thread([kept = std::move(kept)]() mutable {
    std::size_t from = 0;
    for (const received_bytes& each : kept) {
      EXPECT_TRUE(is_pattern(each, from));
      from += each.size();
    }
    kept.clear();
  }).join();
}

TEST_P(tcp_receive, moves) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.write_all("x");
    received_bytes first = server.receive();
    const std::byte* const where = first.data();
    received_bytes second = std::move(first);
    EXPECT_FALSE(first);
    EXPECT_EQ(second.data(), where);
    client.write_all("y");
    second = server.receive();
    EXPECT_EQ(second.text(), "y");
    second = received_bytes();
    EXPECT_EQ(second.data(), nullptr);
  });
}

TEST_P(tcp_receive, what_a_failed_read_left_comes_first) {
  run([] {
    auto [client, server] = make_tcp_pair();
    const auto data = pattern(20'000);
    client.write_all(std::span(data).first(10'000));
    std::vector<std::byte> buffer(data.size());
    std::size_t got = 0;
    while (got < 10'000) {
      EXPECT_FALSE(try_with_timeout(5ms, [&] { server.read_exactly(buffer); }));
      const received_bytes bytes = server.receive();
      ASSERT_TRUE(is_pattern(bytes, got));
      got += bytes.size();
    }
    client.write_all(std::span(data).subspan(10'000));
    while (got < data.size()) {
      const received_bytes bytes = server.receive();
      ASSERT_TRUE(is_pattern(bytes, got));
      got += bytes.size();
    }
  });
}

TEST_P(tcp_receive, a_second_reader_is_refused_and_a_close_ends_it) {
  run([] {
    auto [client, server] = make_tcp_pair();
    event one_is_refused;
    std::atomic<int> refused{0};
    std::atomic<int> closed{0};
    const auto receive = [&, &server = server] {
      try {
        std::error_code ec;
        EXPECT_FALSE(server.receive(ec));
        EXPECT_EQ(ec, errc::closed);
        ++closed;
      } catch (const std::logic_error&) {
        ++refused;
        one_is_refused.set();
      }
    };
    fiber<> first = spawn(receive);
    fiber<> second = spawn(receive);
    one_is_refused.wait();
    server.close();
    first.join();
    second.join();
    EXPECT_EQ(refused, 1);
    EXPECT_EQ(closed, 1);
  });
}

TEST_P(tcp_receive, a_plain_thread_may) {
  runtime rt(GetParam().opts());
  aramid::test::tcp_pair pair = rt.spawn([] { return make_tcp_pair(); }).join();
  pair.client.write_all("abc");
  std::string text;
  while (text.size() < 3) {
    text += pair.server.receive().text();
  }
  EXPECT_EQ(text, "abc");
}

TEST_P(tcp_receive, is_cancelled_before_any_effect) {
  run([] {
    auto [client, server] = make_tcp_pair();
    client.write_all("abc");
    cancel_scope scope;
    scope.cancel();
    EXPECT_FALSE(scope.run([&, &server = server] { (void)server.receive(); }));
    EXPECT_EQ(aramid::test::read_text(server, 3), "abc");
  });
}

// As tcp_cancel's.
TEST_P(tcp_receive, cancel_versus_complete_neither_loses_nor_doubles_a_byte) {
  run([] {
    const auto total = static_cast<std::size_t>(scaled(30'000, 2'000));
    auto [client, server] = make_tcp_pair();
    client.no_delay(true);
    counting_semaphore<> cut_short(0);
    fiber<> writing = spawn([&, &client = client] {
      aramid::test::write_between_cuts(total, cut_short, [&](std::size_t from, std::size_t size) { client.write_all(pattern(size, from)); });
      client.shutdown(shutdown_how::write);
    });
    std::size_t got = 0;
    std::optional<received_bytes> held;
    std::mt19937 random(2);
    for (bool ended = false; !ended;) {
      aramid::test::cancel_soon(random, [&, &server = server] {
        try {
          received_bytes bytes = server.receive();
          ended = bytes.empty();
          ASSERT_TRUE(is_pattern(bytes, got));
          got += bytes.size();
          held = std::move(bytes);
        } catch (const cancelled&) {
          cut_short.release();
        }
      });
      if (::testing::Test::HasFatalFailure()) {
        return;
      }
    }
    writing.join();
    EXPECT_EQ(got, total);
  });
}

// "buffer ring empty → ENOBUFS" (liburing#1275): one more than all workers' rings have together, so at least one of these has run out.
TEST_P(tcp_receive, all_that_there_are_and_more_are_kept) {
  run([] {
    const unsigned readers = stats().workers + 1;
    event all_keep;
    std::atomic<unsigned> keeping{0};
    with_task_group([&](task_group& group) {
      for (unsigned reader = 0; reader != readers; ++reader) {
        group.spawn([&, reader] {
          auto [client, server] = make_tcp_pair();
          std::vector<received_bytes> kept;
          for (std::size_t i = 0; i != detail::lent_buffers::count; ++i) {
            const char what = static_cast<char>('a' + (reader + i) % 26);
            client.write_all(std::string_view(&what, 1));
            kept.push_back(server.receive());
          }
          if (++keeping == readers) {
            all_keep.set();
          }
          all_keep.wait();
          for (std::size_t i = 0; i != kept.size(); ++i) {
            ASSERT_EQ(kept[i].text(), std::string(1, static_cast<char>('a' + (reader + i) % 26)));
          }
          kept.clear();
          client.write_all("z");
          EXPECT_EQ(server.receive().text(), "z");
        });
      }
    });
  });
}

// On one worker the addresses tell whose memory it is.

/// Receives so many messages on its own connection. Returns: where they lay.
std::set<const std::byte*> places_of(std::size_t messages) {
  auto [client, server] = make_tcp_pair();
  std::set<const std::byte*> places;
  for (std::size_t i = 0; i != messages; ++i) {
    client.write_all("x");
    const received_bytes bytes = server.receive();
    places.insert(bytes.data());
  }
  return places;
}

class lent_buffers : public aramid::test::on_each_driver {};
INSTANTIATE_TEST_SUITE_P(Io, lent_buffers, ::testing::Values(aramid::test::setting{"io_uring", 1}), aramid::test::setting_name);

TEST_P(lent_buffers, go_round) {
  run([] {
    const auto all = places_of(detail::lent_buffers::count);
    EXPECT_EQ(all.size(), detail::lent_buffers::count);
    EXPECT_EQ(places_of(3 * detail::lent_buffers::count), all);
  });
}

TEST_P(lent_buffers, are_not_lost_to_cancellations_and_ends) {
  run([] {
    const auto all = places_of(detail::lent_buffers::count);
    for (std::size_t i = 0; i != 2 * detail::lent_buffers::count; ++i) {
      auto [client, server] = make_tcp_pair();
      fiber<> reading = spawn([&server = server] { (void)server.receive(); });
      this_fiber::yield();
      switch (i % 3) {
        case 0:
          client.close();
          break;
        case 1:
          client.write_all("x");  // some receives end with it
          break;
        default:
          break;
      }
      reading.cancel();
      reading.wait();
    }
    EXPECT_EQ(places_of(3 * detail::lent_buffers::count), all);
  });
}

TEST_P(lent_buffers, an_idle_connection_holds_none) {
  run([] {
    const auto all = places_of(detail::lent_buffers::count);
    std::vector<aramid::test::tcp_pair> idle;
    for (std::size_t i = 0; i != detail::lent_buffers::count / 4; ++i) {
      idle.push_back(make_tcp_pair());
    }
    std::vector<fiber<>> waiting;
    const std::uint64_t before = stats().submissions;
    for (aramid::test::tcp_pair& each : idle) {
      waiting.push_back(spawn([&server = each.server] { EXPECT_FALSE(server.receive()); }));
      waiting.push_back(spawn([&client = each.client] { EXPECT_FALSE(client.receive()); }));
    }
    while (stats().submissions < before + waiting.size()) {
      this_fiber::yield();
    }
    EXPECT_EQ(places_of(2 * detail::lent_buffers::count), all);
    for (aramid::test::tcp_pair& each : idle) {
      each.client.shutdown(shutdown_how::write);
      each.server.shutdown(shutdown_how::write);
    }
    for (fiber<>& each : waiting) {
      each.join();
    }
  });
}

// "buffer ring empty → ENOBUFS" (liburing#1275)
TEST_P(lent_buffers, where_they_run_out_the_heap_steps_in) {
  run([] {
    const auto all = places_of(detail::lent_buffers::count);
    auto [client, server] = make_tcp_pair();
    std::vector<received_bytes> kept;
    for (std::size_t i = 0; i != detail::lent_buffers::count + 10; ++i) {
      client.write_all("x");
      kept.push_back(server.receive());
    }
    const auto of_the_heap = std::count_if(kept.begin(), kept.end(), [&](const received_bytes& each) { return !all.contains(each.data()); });
    EXPECT_EQ(of_the_heap, 10);
    // One that waits without a buffer is not cut off from those that come back.
    fiber<> waiting = spawn([&server = server] { EXPECT_EQ(server.receive().text(), "y"); });
    this_fiber::yield();
    kept.clear();
    client.write_all("y");
    waiting.join();
    EXPECT_EQ(places_of(2 * detail::lent_buffers::count), all);
  });
}

}  // namespace
