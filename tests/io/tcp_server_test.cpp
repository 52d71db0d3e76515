// tcp_server while it serves: its limit, its handlers' failures, its shortages. How it ends: tcp_server_end_test.cpp.
#include <aramid/io/tcp_server.hpp>

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "leak_check.hpp"
#include "no_descriptors.hpp"
#include "server_clients.hpp"
#include "tests/runtime/scale.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using namespace aramid::test;

class tcp_server_test : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp_server_test);

TEST_P(tcp_server_test, serves_each_connection_on_a_fiber_of_its_own) {
  run([] {
    std::atomic<int> named{0};
    tcp_server server(loopback,
                      [&](tcp_stream peer) {
                        named += this_fiber::name() == "converse" ? 1 : 0;
                        echo(std::move(peer));
                      },
                      {.name = "converse"});
    fiber<> serving = spawn([&] { server.serve(); });
    auto clients = connect_many(server.local_endpoint(), 50);
    for (tcp_stream& each : clients) {  // all are there at once
      EXPECT_TRUE(echoes(each, "hello"));
    }
    EXPECT_EQ(server.stats(), (server_statistics{.active = 50, .accepted = 50}));
    clients.clear();
    server.stop();
    serving.join();
    EXPECT_EQ(server.drain(1h), 0U);
    EXPECT_EQ(server.stats(), (server_statistics{.accepted = 50, .finished = 50}));
    EXPECT_EQ(named, 50);
  });
}

TEST_P(tcp_server_test, the_limit_is_reached_and_never_exceeded) {
  run([] {
    constexpr std::size_t limit = 3;
    constexpr std::size_t crowd = 12;
    std::atomic<std::size_t> inside{0};
    std::atomic<std::size_t> most{0};
    tcp_server server(loopback,
                      [&](tcp_stream peer) {
                        const std::size_t now = ++inside;
                        for (std::size_t seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
                        }
                        peer.write_all("x");
                        (void)read_char(peer);
                        --inside;
                      },
                      {.max_connections = limit});
    fiber<> serving = spawn([&] { server.serve(); });
    auto clients = connect_many(server.local_endpoint(), crowd);
    // They come in as they queued.
    for (std::size_t i = 0; i < limit; ++i) {
      EXPECT_EQ(read_char(clients[i]), 'x');
    }
    for (std::size_t i = limit; i < crowd; ++i) {
      EXPECT_EQ(server.stats().accepted, i) << "the others wait outside";
      EXPECT_EQ(server.stats().active, limit);
      clients[i - limit].close();
      EXPECT_EQ(read_char(clients[i]), 'x');
    }
    EXPECT_EQ(most, limit);
    clients.clear();
    EXPECT_EQ(server.drain(1h), 0U);
    EXPECT_EQ(server.stats().finished, crowd);
  });
}

TEST_P(tcp_server_test, a_place_is_free_only_when_its_connection_is_closed) {
  run([] {
    const int connections = scaled(300, 30);
    (void)make_tcp_pair();  // the first I/O makes the rings, which are descriptors too
    tcp_server server(loopback, [](tcp_stream) {}, {.max_connections = 1});
    fiber<> serving = spawn([&] { server.serve(); });
    const int before = look_at_process().descriptors;
    for (int i = 0; i < connections; ++i) {
      tcp_stream client = connect(server.local_endpoint());
      EXPECT_EQ(read_char(client), '\0');
      // Ours, the one that may be open there, what an accept takes before it looks: never a heap of those that wait to be closed.
      EXPECT_LE(look_at_process().descriptors, before + 4);
    }
    server.stop();
    serving.join();
    server.drain(1h);
    EXPECT_EQ(server.stats().finished, static_cast<std::uint64_t>(connections));
  });
}

TEST_P(tcp_server_test, a_failing_handler_ends_its_own_connection_only) {
  run([] {
    std::mutex lock;
    std::vector<std::string> heard;
    server_options options{.on_error = [&](const std::exception_ptr& error) {
      try {
        std::rethrow_exception(error);
      } catch (const std::exception& e) {
        const std::lock_guard guard(lock);
        heard.emplace_back(e.what());
      }
    }};
    tcp_server server(loopback,
                      [](tcp_stream peer) {
                        switch (read_char(peer)) {
                          case 'r':
                            throw std::runtime_error("on purpose");
                          case 'i':
                            throw 42;  // NOLINT: anything may be thrown
                          default:
                            echo(std::move(peer));
                        }
                      },
                      std::move(options));
    fiber<> serving = spawn([&] { server.serve(); });
    tcp_stream good = connect(server.local_endpoint());
    good.write_all("g");
    EXPECT_TRUE(echoes(good, "before"));
    for (int i = 0; i < 10; ++i) {
      tcp_stream bad = connect(server.local_endpoint());
      bad.write_all("r");
      EXPECT_EQ(read_char(bad), '\0');
      EXPECT_TRUE(echoes(good, "between"));
    }
    raw_socket rude(server.local_endpoint());
    rude.write("g");
    wait_until([&] { return server.stats().active == 2; });
    rude.reset();
    wait_until([&] { return server.stats().active == 1; });
    EXPECT_TRUE(echoes(good, "after"));
    good.close();
    EXPECT_EQ(server.drain(1h), 0U);
    // Each of them has been heard of when `drain` returns.
    const server_statistics counts = server.stats();
    EXPECT_EQ(counts.failed, heard.size());
    EXPECT_EQ(std::count(heard.begin(), heard.end(), "on purpose"), 10);
    EXPECT_EQ(counts.failed, 11U);
    EXPECT_EQ(counts.finished, 1U);
  });
}

TEST_P(tcp_server_test, failures_without_a_hook_are_logged_by_name) {
  std::mutex lock;
  std::vector<std::string> lines;
  set_log_handler([&](std::string_view line) {
    const std::lock_guard guard(lock);
    lines.emplace_back(line);
  });
  run([] {
    tcp_server server(loopback, [](tcp_stream) { throw std::runtime_error("unheard of"); }, {.name = "gate"});
    fiber<> serving = spawn([&] { server.serve(); });
    tcp_stream client = connect(server.local_endpoint());
    EXPECT_EQ(read_char(client), '\0');
    server.drain(1h);
  });
  set_log_handler(nullptr);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_NE(lines[0].find("gate"), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find("unheard of"), std::string::npos) << lines[0];
}

TEST_P(tcp_server_test, a_hook_that_throws_or_suspends_harms_nobody) {
  set_log_handler([](std::string_view) {});
  run([] {
    std::atomic<int> calls{0};
    tcp_server server(loopback, [](tcp_stream) { throw std::runtime_error("on purpose"); },
                      {.on_error = [&](const std::exception_ptr& error) {
                        this_fiber::sleep_for(100us);
                        ++calls;
                        std::rethrow_exception(error);
                      }});
    fiber<> serving = spawn([&] { server.serve(); });
    for (int i = 0; i < 5; ++i) {
      tcp_stream client = connect(server.local_endpoint());
      EXPECT_EQ(read_char(client), '\0');
    }
    server.drain(1h);
    EXPECT_EQ(calls, 5);
    EXPECT_EQ(server.stats().failed, 5U);
  });
  set_log_handler(nullptr);
}

TEST_P(tcp_server_test, out_of_descriptors_the_connections_wait_and_none_is_lost) {
  SKIP_WITHOUT_DESCRIPTORS();
  run([] {
    constexpr std::size_t connections = 10;
    (void)make_tcp_pair();  // the first I/O makes the rings, which want descriptors too
    tcp_server server(loopback, [](tcp_stream peer) { peer.write_all("x"); });
    std::vector<raw_socket> clients;
    for (std::size_t i = 0; i < connections; ++i) {
      clients.emplace_back(server.local_endpoint());
    }
    fiber<> serving;
    {
      const no_descriptors_left limit;
      serving = spawn([&] { server.serve(); });
      this_fiber::sleep_for(30ms);
      EXPECT_EQ(server.stats(), server_statistics{});
      EXPECT_FALSE(serving.done());
    }
    for (const raw_socket& each : clients) {
      tcp_stream client = tcp_stream::adopt(::dup(each.fd()));
      EXPECT_EQ(read_char(client), 'x');
    }
    EXPECT_EQ(server.drain(1h), 0U);
    EXPECT_EQ(server.stats().finished, connections);
  });
}

TEST_P(tcp_server_test, the_counts_are_of_one_moment) {
  run([] {
    const int each_client = scaled(150, 15);
    tcp_server server(loopback,
                      [](tcp_stream peer) {
                        if (read_char(peer) == 'f') {
                          throw std::runtime_error("on purpose");
                        }
                      },
                      {.max_connections = 5, .on_error = [](const std::exception_ptr&) {}});
    fiber<> serving = spawn([&] { server.serve(); });
    fiber<> watching = spawn([&] {
      for (;;) {
        const server_statistics now = server.stats();
        ASSERT_EQ(now.accepted, now.active + now.finished + now.failed + now.cancelled);
        ASSERT_LE(now.active, 5U);
        this_fiber::yield();
      }
    });
    with_task_group([&](task_group& clients) {
      for (unsigned c = 0; c < 8; ++c) {
        clients.spawn([&, c] {
          std::mt19937 random(c);
          for (int i = 0; i < each_client; ++i) {
            tcp_stream client = connect(server.local_endpoint());
            client.write_all(random() % 2 == 0 ? "f" : "g");
            (void)read_char(client);
          }
        });
      }
    });
    watching.cancel();
    watching.wait();
    EXPECT_EQ(server.drain(1h), 0U);
    EXPECT_EQ(server.stats().accepted, 8U * static_cast<std::uint64_t>(each_client));
    EXPECT_GT(server.stats().failed, 0U);
    EXPECT_GT(server.stats().finished, 0U);
  });
}

TEST_P(tcp_server_test, bad_input_is_named) {
  run([] {
    const auto names = [](const char* what, auto&& make) {
      try {
        make();
        ADD_FAILURE() << what;
      } catch (const std::invalid_argument& e) {
        EXPECT_NE(std::string(e.what()).find(what), std::string::npos) << e.what();
      }
    };
    names("max_connections", [] { tcp_server server(loopback, echo, {.max_connections = 0}); });
    names("handle", [] { tcp_server server(loopback, nullptr); });
    tcp_server taken(loopback, echo);
    EXPECT_THROW(tcp_server(taken.local_endpoint(), echo), std::system_error);

    const auto fails_to_serve = [](tcp_listener listener) {
      tcp_server server(std::move(listener), echo);
      try {
        server.serve();
        ADD_FAILURE();
      } catch (const std::system_error& e) {
        EXPECT_NE(std::string(e.what()).find("tcp_server::serve"), std::string::npos) << e.what();
      }
    };
    fails_to_serve(tcp_listener());
    auto [client, other] = make_tcp_pair();
    fails_to_serve(tcp_listener::adopt(client.release()));
  });
}

TEST_P(tcp_server_test, may_be_made_before_any_runtime_and_serve_in_one_after_another) {
  tcp_server server(loopback, echo);
  EXPECT_THROW(server.serve(), std::logic_error) << "no runtime";
  for (int i = 0; i < 2; ++i) {
    run([&] {
      fiber<> serving = spawn([&] { server.serve(); });
      tcp_stream client = connect(server.local_endpoint());
      EXPECT_TRUE(echoes(client, "hello"));
      client.close();
      wait_until([&] { return server.stats().active == 0; });
      serving.cancel();
      EXPECT_THROW(serving.join(), fiber_cancelled);
    });
  }
  EXPECT_EQ(server.stats().finished, 2U);
}

TEST_P(tcp_server_test, a_thread_that_has_entered_a_runtime_may_serve) {
  runtime rt(GetParam().opts());
  {
    const auto inside = rt.enter();
    tcp_server server(loopback, echo);
    fiber<> client = spawn([&] {
      tcp_stream stream = connect(server.local_endpoint());
      EXPECT_TRUE(echoes(stream, "hello"));
      server.stop();
    });
    server.serve();
    client.join();
    EXPECT_EQ(server.drain(1h), 0U);
  }
  rt.stop();
}

}  // namespace
