// connect to one of several addresses, and by name: Happy Eyeballs. What wins is decided by who answers and by the order of
// the attempts; `attempt_delay` is a day where waiting would be wrong, and a moment where it is right.
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "dns_server.hpp"
#include "leak_check.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/scale.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::dns_server;
using aramid::test::loopback;
using aramid::test::raw_socket;
using aramid::test::scaled;

class connect_any : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(connect_any);

const connect_options at_once_or_never{.attempt_delay = 24h};
const connect_options soon{.attempt_delay = 1ms};

bool has_connection(const tcp_listener& listener) {
  pollfd ready{listener.native_handle(), POLLIN, 0};
  return ::poll(&ready, 1, 0) > 0;
}

/// A port that takes no connection and refuses none: its queue is full, so what comes is not answered.
class hanging_port {
public:
  explicit hanging_port(const endpoint& where = loopback) : listener_(where, {.backlog = 0}) {
    tcp_info info{};
    do {
      inside_.emplace_back(where_());
      socklen_t size = sizeof info;
      // Of a listener these are how many wait, and how many may wait beside the first.
      while (::getsockopt(listener_.native_handle(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
             info.tcpi_unacked < inside_.size()) {
      }
    } while (info.tcpi_unacked <= info.tcpi_sacked);
  }

  [[nodiscard]] endpoint where() const { return where_(); }

private:
  [[nodiscard]] endpoint where_() const { return listener_.local_endpoint(); }

  tcp_listener listener_;
  std::vector<raw_socket> inside_;
};

/// A port that refuses, and that nobody else can get.
class refusing_port {
public:
  explicit refusing_port(const endpoint& where = loopback) : socket_(tcp_stream::adopt(::socket(where.family(), SOCK_STREAM | SOCK_CLOEXEC, 0))) {
    if (::bind(socket_.native_handle(), where.data(), where.size()) != 0) {
      throw std::system_error(errno, std::system_category(), "refusing_port");
    }
  }

  [[nodiscard]] endpoint where() const { return socket_.local_endpoint(); }

private:
  tcp_stream socket_;
};

bool has_ipv6() {
  std::error_code ec;
  const tcp_listener probe(endpoint("::1", 0), {}, ec);
  return !ec;
}

/// `Port` at ::1 and `tcp_listener` at 127.0.0.1, with one number. Other tests want numbers too, so this one is tried for.
template <class Port>
struct two_families {
  std::unique_ptr<tcp_listener> v4;
  std::unique_ptr<Port> v6;
  std::uint16_t number = 0;

  two_families() {
    while (v6 == nullptr) {
      v4 = std::make_unique<tcp_listener>(loopback);
      number = v4->local_endpoint().port();
      try {
        v6 = std::make_unique<Port>(endpoint("::1", number));
      } catch (const std::system_error& e) {
        if (e.code() != std::errc::address_in_use) {
          throw;
        }
      }
    }
  }
};

void expect_connected(tcp_stream& client, tcp_listener& listener) {
  EXPECT_EQ(client.remote_endpoint(), listener.local_endpoint());
  tcp_stream server = listener.accept();
  EXPECT_EQ(server.remote_endpoint(), client.local_endpoint());
  client.write_all("x");
  std::array<char, 1> buffer;
  server.read_exactly(buffer);
}

TEST_P(connect_any, the_first_that_is_good_is_the_only_one_that_is_tried) {
  run([] {
    tcp_listener first(loopback);
    tcp_listener second(loopback);
    tcp_stream stream = connect(std::vector{first.local_endpoint(), second.local_endpoint()}, at_once_or_never);
    EXPECT_FALSE(has_connection(second));
    expect_connected(stream, first);
  });
}

TEST_P(connect_any, one_that_fails_is_followed_at_once) {
  run([] {
    const refusing_port refusing;
    tcp_listener good(loopback);
    tcp_stream stream =
        connect(std::vector{refusing.where(), endpoint(), refusing.where(), good.local_endpoint()}, at_once_or_never);
    expect_connected(stream, good);
  });
}

TEST_P(connect_any, one_that_hangs_is_overtaken) {
  run([] {
    const hanging_port hanging;
    tcp_listener good(loopback);
    tcp_stream stream = connect(std::vector{hanging.where(), hanging.where(), good.local_endpoint()}, soon);
    expect_connected(stream, good);
  });
}

TEST_P(connect_any, a_hanging_port_hangs) {
  run([] {
    const hanging_port hanging;
    EXPECT_THROW((void)with_timeout(50ms, [&] { return connect(hanging.where()); }), timeout_error);
  });
}

TEST_P(connect_any, the_good_one_wins_in_every_order) {
  run([] {
    const hanging_port hanging;
    const refusing_port refusing;
    tcp_listener good(loopback);
    std::array<std::size_t, 3> order{0, 1, 2};
    const std::array all{hanging.where(), refusing.where(), good.local_endpoint()};
    do {
      tcp_stream stream = connect(std::vector{all[order[0]], all[order[1]], all[order[2]]}, soon);
      expect_connected(stream, good);
    } while (std::next_permutation(order.begin(), order.end()));
  });
}

TEST_P(connect_any, all_at_once_gives_one) {
  run([] {
    std::vector<std::unique_ptr<tcp_listener>> listeners;
    std::vector<endpoint> peers;
    for (int i = 0; i < 8; ++i) {
      listeners.push_back(std::make_unique<tcp_listener>(loopback));
      peers.push_back(listeners.back()->local_endpoint());
    }
    tcp_stream stream = connect(peers, {.attempt_delay = 0s});
    const endpoint winner = stream.remote_endpoint();
    for (const auto& each : listeners) {
      if (each->local_endpoint() == winner) {
        expect_connected(stream, *each);
      } else if (has_connection(*each)) {
        // It came too late, and is closed.
        tcp_stream loser = each->accept();
        std::array<char, 1> buffer;
        std::error_code ec;
        EXPECT_EQ(loser.read_some(buffer, ec), 0U);
      }
    }
  });
}

TEST_P(connect_any, when_all_fail_the_text_has_every_attempt_and_the_code_is_of_the_last_that_got_anywhere) {
  run([] {
    const refusing_port one;
    const refusing_port two;
    const std::vector peers{one.where(), two.where(), endpoint()};
    std::error_code ec;
    EXPECT_FALSE(connect(peers, at_once_or_never, ec).is_open());
    EXPECT_EQ(ec, std::errc::connection_refused);
    try {
      (void)connect(peers, at_once_or_never);
      ADD_FAILURE();
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), std::errc::connection_refused);
      const std::string refused = std::make_error_code(std::errc::connection_refused).message();
      EXPECT_EQ(e.what(), "connect " + one.where().to_string() + ": " + refused + "; " + two.where().to_string() + ": " + refused +
                              "; : " + std::make_error_code(std::errc::address_family_not_supported).message() + ": " + refused);
    }
    EXPECT_FALSE(connect(std::vector{endpoint(), endpoint()}, at_once_or_never, ec).is_open());
    EXPECT_EQ(ec, std::errc::address_family_not_supported);
    EXPECT_FALSE(connect(std::vector{one.where()}, at_once_or_never, ec).is_open());
    EXPECT_EQ(ec, std::errc::connection_refused);
  });
}

TEST_P(connect_any, misuse) {
  run([] {
    std::error_code ec;
    EXPECT_THROW((void)connect(std::vector<endpoint>()), std::invalid_argument);
    EXPECT_THROW((void)connect(std::vector<endpoint>(), soon, ec), std::invalid_argument);
    EXPECT_THROW((void)connect("127.0.0.1", 80, {.names = {.tries = 0}}), std::invalid_argument);
  });
}

TEST_P(connect_any, cancellation_gives_every_attempt_up) {
  run([] {
    const hanging_port hanging;
    const std::vector peers(5, hanging.where());
    fiber<> connecting = spawn([&] { (void)connect(peers, {.attempt_delay = 0s}); });
    this_fiber::sleep_for(2ms);
    connecting.cancel();
    EXPECT_THROW(connecting.join(), fiber_cancelled);
    EXPECT_THROW((void)with_timeout(10ms, [&] { return connect(peers, soon); }), timeout_error);
    std::error_code ec;
    cancel_scope scope;
    scope.cancel();
    EXPECT_FALSE(scope.run([&] { (void)connect(peers, soon, ec); }));
  });
}

// Law 2. The peer has the connection before its client is cancelled: nearly always the client has it too, and gets it.
TEST_P(connect_any, a_connection_that_came_with_the_cancellation_is_returned) {
  run([] {
    const hanging_port hanging;
    tcp_listener good(loopback);
    const std::vector peers{good.local_endpoint(), hanging.where()};
    int returned = 0;
    for (int i = 0; i < 20 || returned == 0; ++i) {
      fiber<tcp_stream> connecting = spawn([&] { return connect(peers, {.attempt_delay = 0s}); });
      while (!has_connection(good)) {
        this_fiber::yield();
      }
      connecting.cancel();
      tcp_stream server = good.accept();
      try {
        tcp_stream client = connecting.join();
        ++returned;
        client.write_all("x");
        std::array<char, 1> buffer;
        server.read_exactly(buffer);
      } catch (const fiber_cancelled&) {
      }
    }
  });
}

TEST_P(connect_any, cancel_versus_connect) {
  run([] {
    const hanging_port hanging;
    const refusing_port refusing;
    std::array<tcp_listener, 2> good{tcp_listener(loopback), tcp_listener(loopback)};
    task_group serving(on_error::isolate);
    for (tcp_listener& listener : good) {
      serving.spawn([&] {
        for (;;) {
          serving.spawn([stream = listener.accept()]() mutable {
            std::array<char, 1> buffer;
            std::error_code ec;
            if (stream.read_some(buffer, ec) == 1) {
              stream.write_all(std::string_view(buffer.data(), 1), ec);
            }
          });
        }
      });
    }
    const std::array peers{hanging.where(), good[0].local_endpoint(), refusing.where(), good[1].local_endpoint()};
    with_task_group([&](task_group& group) {
      for (unsigned seed = 0; seed < 8; ++seed) {
        group.spawn([&, seed] {
          std::mt19937 random(seed);
          for (int i = scaled(100, 10); i > 0; --i) {
            std::vector<endpoint> some(peers.begin(), peers.end());
            std::shuffle(some.begin(), some.end(), random);
            const connect_options options{.attempt_delay = std::chrono::microseconds(random() % 300)};
            fiber<tcp_stream> connecting = spawn([&] { return connect(some, options); });
            if (random() % 2 == 0) {
              this_fiber::sleep_for(std::chrono::microseconds(random() % 500));
            } else {
              for (unsigned n = random() % 16; n > 0; --n) {
                this_fiber::yield();
              }
            }
            const bool wanted = random() % 4 == 0;
            if (!wanted) {
              connecting.cancel();
            }
            try {
              tcp_stream stream = connecting.join();
              stream.write_all("x");
              std::array<char, 1> buffer;
              stream.read_exactly(buffer);
            } catch (const fiber_cancelled&) {
              EXPECT_FALSE(wanted);
            }
          }
        });
      }
    });
    serving.cancel();
  });
}

TEST_P(connect_any, by_a_thread_that_is_no_fiber) {
  const refusing_port refusing;
  const auto names_connect = [](auto&& call) {
    try {
      (void)call();
      ADD_FAILURE();
    } catch (const std::logic_error& e) {
      EXPECT_NE(std::string(e.what()).find("connect"), std::string::npos) << e.what();
    }
  };
  std::error_code ec;
  names_connect([&] { return connect(std::vector(2, refusing.where())); });
  names_connect([&] { return connect(std::vector(2, refusing.where()), soon, ec); });
  names_connect([&] { return connect("127.0.0.1", refusing.where().port()); });
  names_connect([&] { return connect("127.0.0.1", refusing.where().port(), ec); });

  runtime rt(GetParam().opts());
  const auto inside = rt.enter();
  tcp_listener good(loopback);
  tcp_stream stream = connect(std::vector{refusing.where(), good.local_endpoint()}, at_once_or_never);
  expect_connected(stream, good);
  stream = connect("127.0.0.1", good.local_endpoint().port());
  expect_connected(stream, good);
  const hanging_port hanging;
  EXPECT_THROW((void)with_timeout(10ms, [&] { return connect(std::vector(3, hanging.where()), soon); }), timeout_error);
}

class connect_name : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(connect_name);

TEST_P(connect_name, numeric_and_from_the_hosts_file) {
  run([] {
    tcp_listener good(loopback);
    tcp_stream stream = connect("127.0.0.1", good.local_endpoint().port());
    expect_connected(stream, good);
    std::error_code ec = std::make_error_code(std::errc::io_error);
    stream = connect("localhost", good.local_endpoint().port(), ec);  // ::1 may come first, and refuses
    EXPECT_FALSE(ec);
    expect_connected(stream, good);
  });
}

TEST_P(connect_name, a_dead_ipv6_address_costs_the_delay_and_ipv4_wins) {
  if (!has_ipv6()) {
    GTEST_SKIP() << "no IPv6 here";
  }
  dns_server server({{"both.test", {{"127.0.0.1"}, {"::1"}}}});
  run([&] {
    two_families<hanging_port> ports;
    tcp_stream stream = connect("both.test.", ports.number, {.names = server.patient()});
    expect_connected(stream, *ports.v4);
  });
}

TEST_P(connect_name, an_ipv6_address_that_refuses_costs_nothing) {
  if (!has_ipv6()) {
    GTEST_SKIP() << "no IPv6 here";
  }
  dns_server server({{"both.test", {{"127.0.0.1"}, {"::1"}}}});
  run([&] {
    two_families<refusing_port> ports;
    tcp_stream stream = connect("both.test.", ports.number, {.attempt_delay = 24h, .names = server.patient()});
    expect_connected(stream, *ports.v4);
  });
}

TEST_P(connect_name, ipv6_is_preferred_where_both_are_good) {
  if (!has_ipv6()) {
    GTEST_SKIP() << "no IPv6 here";
  }
  dns_server server({{"both.test", {{"127.0.0.1"}, {"::1"}}}});
  run([&] {
    two_families<tcp_listener> ports;
    tcp_stream stream = connect("both.test.", ports.number, {.attempt_delay = 24h, .names = server.patient()});
    EXPECT_FALSE(has_connection(*ports.v4));
    expect_connected(stream, *ports.v6);
  });
}

// The families take turns, each in the order that `resolve` gives. All refuse, so the text tells the order.
TEST_P(connect_name, families_take_turns) {
  dns_server server({{"many.test",
                      {{"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"}, {"::1", "::ffff:127.0.0.6", "::ffff:127.0.0.7"}}}});
  run([&] {
    const refusing_port refusing(endpoint("0.0.0.0", 0));
    const std::uint16_t port = refusing.where().port();
    const std::vector<endpoint> found = resolve("many.test.", port, server.patient());
    ASSERT_EQ(found.size(), 7U);
    std::vector<endpoint> first;
    std::vector<endpoint> second;
    for (const endpoint& each : found) {
      (each.family() == found.front().family() ? first : second).push_back(each);
    }
    std::vector<endpoint> turns;
    for (std::size_t i = 0; i < 4; ++i) {
      for (const auto* family : {&first, &second}) {
        if (i < family->size()) {
          turns.push_back((*family)[i]);
        }
      }
    }
    ASSERT_EQ(turns.size(), 7U);
    try {
      (void)connect("many.test.", port, {.attempt_delay = 24h, .names = server.patient()});
      ADD_FAILURE();
    } catch (const std::system_error& e) {
      const std::string text = e.what();
      std::size_t at = text.find("connect \"many.test.\" (");
      EXPECT_EQ(at, 0U) << text;
      for (const endpoint& each : turns) {
        const std::size_t next = text.find(each.to_string() + ": ");
        ASSERT_NE(next, text.npos) << text;
        EXPECT_GT(next, at) << text;
        at = next;
      }
    }
  });
}

TEST_P(connect_name, a_name_that_is_not_found_fails_as_resolve_does) {
  dns_server server({});
  run([&] {
    std::error_code ec;
    EXPECT_FALSE(connect("nobody.test.", 80, {.names = server.patient()}, ec).is_open());
    EXPECT_EQ(ec, resolve_errc::host_not_found);
    EXPECT_FALSE(connect("", 80, ec).is_open());
    EXPECT_EQ(ec, resolve_errc::bad_name);
    try {
      (void)connect("nobody.test.", 80, {.names = server.patient()});
      ADD_FAILURE();
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), resolve_errc::host_not_found);
      EXPECT_NE(std::string(e.what()).find("\"nobody.test.\""), std::string::npos) << e.what();
    }
  });
}

TEST_P(connect_name, a_deadline_ends_the_lookup_and_the_attempts) {
  dns_server server({{"hole.test", {.habit = aramid::test::dns_habit::silent}}, {"here.test", {{"127.0.0.1"}}}});
  run([&] {
    EXPECT_THROW((void)with_timeout(5ms, [&] { return connect("hole.test.", 80, {.names = server.patient()}); }), timeout_error);
    const hanging_port hanging;
    ASSERT_EQ(resolve("here.test.", 80, server.patient()).size(), 1U);
    EXPECT_THROW((void)with_timeout(200ms, [&] { return connect("here.test.", hanging.where().port(), {.names = server.patient()}); }), timeout_error);
  });
}

}  // namespace
