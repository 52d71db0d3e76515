// How a tcp_server ends: stopped, drained, cancelled, destroyed, and what becomes of its connections.
#include <aramid/io/tcp_server.hpp>

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include <aramid/blocking.hpp>
#include <aramid/cancel.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/timeout.hpp>

#include "leak_check.hpp"
#include "server_clients.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using namespace aramid::test;

class tcp_server_end : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp_server_end);

TEST_P(tcp_server_end, stop_before_serve_and_serve_after_its_end) {
  run([] {
    tcp_server server(loopback, echo);
    server.stop();
    server.stop();
    server.serve();
    std::error_code ec;
    (void)server.local_endpoint(ec);
    EXPECT_EQ(ec, errc::closed) << "the port has been given back";
    EXPECT_THROW(server.serve(), std::logic_error);
    EXPECT_EQ(server.drain(1h), 0U);
    EXPECT_EQ(server.drain(1h), 0U);
    EXPECT_THROW(server.serve(), std::logic_error);
  });
}

TEST_P(tcp_server_end, drain_without_serve_gives_the_port_back) {
  run([] {
    tcp_server server(loopback, echo);
    const endpoint where = server.local_endpoint();
    EXPECT_EQ(server.drain(1h), 0U);
    std::error_code ec;
    EXPECT_FALSE(connect(where, ec).is_open());
    EXPECT_EQ(ec, std::errc::connection_refused);
    server.serve();  // stopped: returns
  });
}

TEST_P(tcp_server_end, a_second_who_serves_is_told_and_the_first_is_not_disturbed) {
  run([] {
    tcp_server server(loopback, echo);
    fiber<> serving = spawn([&] { server.serve(); });
    tcp_stream client = connect(server.local_endpoint());
    EXPECT_TRUE(echoes(client, "it serves"));
    EXPECT_THROW(server.serve(), std::logic_error);
    tcp_stream another = connect(server.local_endpoint());
    EXPECT_TRUE(echoes(another, "it still does"));
    EXPECT_FALSE(serving.done());
  });
}

TEST_P(tcp_server_end, stop_from_a_plain_thread) {
  run([] {
    tcp_server server(loopback, echo);
    tcp_stream client = connect(server.local_endpoint());
    fiber<> stopping = spawn([&] {
      EXPECT_TRUE(echoes(client, "it serves"));
      blocking([&] { std::thread([&] { server.stop(); }).join(); });
    });
    server.serve();
    stopping.join();
    EXPECT_TRUE(echoes(client, "the handlers go on"));
    client.close();
    EXPECT_EQ(server.drain(1h), 0U);
  });
}

TEST_P(tcp_server_end, stop_from_a_handler_that_goes_on) {
  run([] {
    std::optional<tcp_server> server;
    server.emplace(loopback, [&](tcp_stream peer) {
      server->stop();
      echo(std::move(peer));
    });
    tcp_stream client = connect(server->local_endpoint());
    server->serve();
    EXPECT_TRUE(echoes(client, "and it is served"));
    client.close();
    EXPECT_EQ(server->drain(1h), 0U);
    EXPECT_EQ(server->stats().finished, 1U);
  });
}

TEST_P(tcp_server_end, drain_from_a_handler_is_refused_before_any_effect) {
  run([] {
    std::optional<tcp_server> server;
    server.emplace(loopback, [&](tcp_stream peer) {
      EXPECT_THROW(server->drain(1h), std::logic_error);
      echo(std::move(peer));
    });
    fiber<> serving = spawn([&] { server->serve(); });
    for (int i = 0; i < 3; ++i) {
      tcp_stream client = connect(server->local_endpoint());
      EXPECT_TRUE(echoes(client, "it goes on"));
    }
    EXPECT_EQ(server->drain(1h), 0U);
    serving.join();
  });
}

TEST_P(tcp_server_end, drain_waits_for_those_who_finish) {
  run([] {
    event may_end;
    std::atomic<int> ended{0};
    tcp_server server(loopback, [&](tcp_stream peer) {
      peer.write_all("x");
      may_end.wait();
      ++ended;
    });
    fiber<> serving = spawn([&] { server.serve(); });
    auto clients = connect_many(server.local_endpoint(), 20);
    for (tcp_stream& each : clients) {
      EXPECT_EQ(read_char(each), 'x');
    }
    fiber<std::size_t> draining = spawn([&] { return server.drain(1h); });
    serving.join();
    EXPECT_EQ(server.stats().active, 20U);
    EXPECT_FALSE(draining.done());
    may_end.set();
    EXPECT_EQ(draining.join(), 0U);
    EXPECT_EQ(ended, 20);
    EXPECT_EQ(server.stats(), (server_statistics{.accepted = 20, .finished = 20}));
  });
}

TEST_P(tcp_server_end, drain_cancels_who_is_left_and_counts_them) {
  for (const auto grace : {0ms, 3ms, -1000ms}) {
    run([&] {
      tcp_server server(loopback, linger_on);
      fiber<> serving = spawn([&] { server.serve(); });
      auto clients = connect_many(server.local_endpoint(), 20);
      for (tcp_stream& each : clients) {
        EXPECT_EQ(read_char(each), 'x');
      }
      EXPECT_EQ(server.drain(grace), 20U);
      EXPECT_EQ(server.stats(), (server_statistics{.accepted = 20, .cancelled = 20}));
      for (tcp_stream& each : clients) {
        EXPECT_EQ(read_char(each), '\0') << "closed";
      }
      EXPECT_EQ(server.drain(grace), 0U) << "there are none any more";
    });
  }
}

TEST_P(tcp_server_end, a_second_drain_with_less_patience_hurries_the_first) {
  run([] {
    event may_end;
    tcp_server server(loopback, [&](tcp_stream peer) {
      peer.write_all("x");
      if (read_char(peer) == 'q') {
        may_end.wait();
      } else {
        linger_on(std::move(peer));
      }
    });
    fiber<> serving = spawn([&] { server.serve(); });
    auto clients = connect_many(server.local_endpoint(), 12);
    for (std::size_t i = 0; i < clients.size(); ++i) {
      EXPECT_EQ(read_char(clients[i]), 'x');
      clients[i].write_all(i < 5 ? "q" : "s");
    }
    fiber<std::size_t> patient = spawn([&] { return server.drain(24h); });
    const auto is_stopped = [&] {
      std::error_code ec;
      (void)server.local_endpoint(ec);
      return ec == errc::closed;
    };
    wait_until(is_stopped);
    fiber<std::size_t> patient_too = spawn([&] { return server.drain(24h); });
    may_end.set();
    wait_until([&] { return server.stats().active == 7; });
    EXPECT_FALSE(patient.done());
    EXPECT_EQ(server.drain(0s), 7U);
    EXPECT_EQ(patient.join(), 7U);
    EXPECT_LE(patient_too.join(), 7U);  // it may have come too late to see them go
    EXPECT_EQ(server.stats(), (server_statistics{.accepted = 12, .finished = 5, .cancelled = 7}));
  });
}

TEST_P(tcp_server_end, who_ends_well_when_asked_to_is_not_counted_as_cut_short) {
  run([] {
    std::atomic<int> ready{0};
    tcp_server server(loopback,
                      [&](tcp_stream peer) {
                        const char kind = read_char(peer);
                        ++ready;
                        try {
                          this_fiber::sleep_for(24h);
                        } catch (const cancelled&) {
                          if (kind == 'c') {
                            throw;
                          }
                          shield_for(1h, [&] { peer.write_all("bye"); });
                          if (kind == 'f') {
                            throw std::runtime_error("on purpose");
                          }
                        }
                      },
                      {.on_error = [](const std::exception_ptr&) {}});
    fiber<> serving = spawn([&] { server.serve(); });
    auto clients = connect_many(server.local_endpoint(), 3);
    for (std::size_t i = 0; i < 3; ++i) {
      clients[i].write_all(std::string_view("cfw").substr(i, 1));
    }
    wait_until([&] { return ready == 3; });
    EXPECT_EQ(server.drain(1ms), 1U);
    EXPECT_EQ(server.stats(), (server_statistics{.accepted = 3, .finished = 1, .failed = 1, .cancelled = 1}));
    EXPECT_EQ(read_char(clients[2]), 'b');
  });
}

TEST_P(tcp_server_end, a_cancelled_serve_loses_nothing_and_may_go_on) {
  run([] {
    tcp_server server(loopback, echo);
    std::vector<tcp_stream> clients;
    for (int i = 0; i < 3; ++i) {
      fiber<> serving = spawn([&] { server.serve(); });
      clients.push_back(connect(server.local_endpoint()));
      EXPECT_TRUE(echoes(clients.back(), "hello"));
      serving.cancel();
      EXPECT_THROW(serving.join(), fiber_cancelled);
      for (tcp_stream& each : clients) {
        EXPECT_TRUE(echoes(each, "the handlers go on"));
      }
      clients.push_back(connect(server.local_endpoint()));  // waits for the next one who serves
    }
    fiber<> serving = spawn([&] { server.serve(); });
    for (tcp_stream& each : clients) {
      EXPECT_TRUE(echoes(each, "nobody was lost"));
    }
    clients.clear();
    EXPECT_EQ(server.drain(1h), 0U);
    EXPECT_EQ(server.stats().finished, 6U);
  });
}

TEST_P(tcp_server_end, cancellation_is_seen_on_entry_before_any_effect) {
  run([] {
    tcp_server server(loopback, echo);
    const auto throws = [](auto&& call) {
      cancel_scope scope;
      scope.cancel();
      EXPECT_FALSE(scope.run(call));
    };
    throws([&] { server.serve(); });
    throws([&] { server.drain(1h); });
    fiber<> serving = spawn([&] { server.serve(); });
    tcp_stream client = connect(server.local_endpoint());
    EXPECT_TRUE(echoes(client, "not stopped"));
  });
}

TEST_P(tcp_server_end, a_cancelled_drain_leaves_the_handlers_to_the_destructor) {
  run([] {
    std::atomic<int> cut_short{0};
    std::vector<tcp_stream> clients;
    {
      tcp_server server(loopback, [&](tcp_stream peer) {
        try {
          echo(std::move(peer));
        } catch (const cancelled&) {
          ++cut_short;
          throw;
        }
      });
      fiber<> serving = spawn([&] { server.serve(); });
      clients = connect_many(server.local_endpoint(), 5);
      for (tcp_stream& each : clients) {
        EXPECT_TRUE(echoes(each, "hello"));
      }
      EXPECT_FALSE(try_with_timeout(3ms, [&] { server.drain(1h); }));
      serving.join();  // it has been stopped
      for (tcp_stream& each : clients) {
        EXPECT_TRUE(echoes(each, "they go on"));
      }
      EXPECT_EQ(cut_short, 0);
    }
    EXPECT_EQ(cut_short, 5);
    for (tcp_stream& each : clients) {
      EXPECT_EQ(read_char(each), '\0');
    }
  });
}

TEST_P(tcp_server_end, destruction_ends_the_one_who_serves_and_joins_everybody) {
  run([] {
    std::atomic<int> inside{0};
    fiber<> serving;  // outlives the server
    std::vector<tcp_stream> clients;
    {
      tcp_server server(loopback, [&](tcp_stream peer) {
        ++inside;
        try {
          linger_on(std::move(peer));
        } catch (const cancelled&) {
          const shield from_cancellation;
          this_fiber::sleep_for(1ms);  // its clean-up takes a while
          --inside;
          throw;
        }
      });
      serving = spawn([&] { server.serve(); });
      clients = connect_many(server.local_endpoint(), 10);
      for (tcp_stream& each : clients) {
        EXPECT_EQ(read_char(each), 'x');
      }
      EXPECT_EQ(inside, 10);
    }
    EXPECT_EQ(inside, 0);
    serving.join();
  });
}

TEST_P(tcp_server_end, drain_keeps_its_deadline_while_unwinding) {
  run([] {
    std::size_t cut_short = 0;
    struct drains {
      tcp_server& server;
      std::size_t& result;
      ~drains() { result = server.drain(2ms); }
    };
    try {
      tcp_server server(loopback, linger_on);
      fiber<> serving = spawn([&] { server.serve(); });
      tcp_stream client = connect(server.local_endpoint());
      EXPECT_EQ(read_char(client), 'x');
      const drains at_the_end{server, cut_short};
      throw std::runtime_error("on purpose");
    } catch (const std::runtime_error&) {
    }
    EXPECT_EQ(cut_short, 1U);
  });
}

TEST_P(tcp_server_end, those_in_the_backlog_are_reset) {
  run([] {
    tcp_server server(loopback, linger_on, {.max_connections = 1});
    fiber<> serving = spawn([&] { server.serve(); });
    auto clients = connect_many(server.local_endpoint(), 5);
    EXPECT_EQ(read_char(clients[0]), 'x');
    server.stop();
    serving.join();
    for (std::size_t i = 1; i < clients.size(); ++i) {
      std::array<char, 1> one;
      std::error_code ec;
      EXPECT_EQ(clients[i].read_some(one, ec), 0U);
      EXPECT_EQ(ec, std::errc::connection_reset);
    }
    EXPECT_EQ(server.drain(0s), 1U);
    EXPECT_EQ(server.stats().accepted, 1U);
  });
}

TEST_P(tcp_server_end, those_in_the_backlog_of_a_shared_socket_wait_for_the_other_who_has_it) {
  run([] {
    tcp_listener listener(loopback);
    tcp_listener same = tcp_listener::adopt(::dup(listener.native_handle()));  // as systemd, or a sibling process, has it
    tcp_server server(std::move(listener), linger_on, {.max_connections = 1});
    fiber<> serving = spawn([&] { server.serve(); });
    auto clients = connect_many(server.local_endpoint(), 5);
    EXPECT_EQ(read_char(clients[0]), 'x');
    server.stop();
    serving.join();
    tcp_server successor(std::move(same), echo);
    fiber<> serving_on = spawn([&] { successor.serve(); });
    for (std::size_t i = 1; i < clients.size(); ++i) {
      EXPECT_TRUE(echoes(clients[i], "welcome"));
    }
    tcp_stream late = connect(successor.local_endpoint());
    EXPECT_TRUE(echoes(late, "you too"));
  });
}

}  // namespace
