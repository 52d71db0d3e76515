// Peers that reset, half-close, trickle, say nothing, or do not read: each gets what TCP promises it, and a well-behaved
// connection is served throughout.
#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "echo_fixture.hpp"

namespace aramid::e2e {
namespace {

/// A client on a thread of its own that wants every byte back, again and again, until it is destroyed.
class good_neighbour {
public:
  explicit good_neighbour(std::uint16_t port) : thread_([this, port] { run(port); }) {
    EXPECT_TRUE(eventually([&] { return round_trips_ != 0 || failed_; }));
  }
  ~good_neighbour() {
    // One that began after everything else was over counts as well: it must still be served now.
    const std::uint64_t so_far = round_trips_;
    EXPECT_TRUE(eventually([&] { return round_trips_ >= so_far + 2 || failed_; }));
    done_ = true;
    thread_.join();
    EXPECT_EQ(failure_, "") << "after " << round_trips_ << " round trips";
  }

private:
  void run(std::uint16_t port) {
    try {
      peer connection(port);
      while (!done_) {
        if (!connection.echoes(pattern(1 + round_trips_ * 37 % 9000, round_trips_))) {
          throw std::runtime_error("other bytes came back");
        }
        ++round_trips_;
      }
    } catch (const std::exception& reason) {
      failure_ = reason.what();
      failed_ = true;
    }
  }

  std::atomic<std::uint64_t> round_trips_{0};
  std::atomic<bool> done_{false};
  std::atomic<bool> failed_{false};
  std::string failure_;  // the thread's until it is joined
  std::thread thread_;
};

void reset_at_every_moment(std::uint16_t port, int times) {
  for (int i = 0; i != times; ++i) {
    peer before_a_word(port);
    before_a_word.reset();

    peer with_bytes_on_the_way(port);
    with_bytes_on_the_way.send(pattern(100'000, 1));
    with_bytes_on_the_way.reset();

    peer while_the_server_reads(port);
    EXPECT_TRUE(while_the_server_reads.echoes("hello"));
    while_the_server_reads.reset();

    // Nobody reads: the server is in the middle of a write.
    peer while_the_server_writes(port, 4096);
    const std::string bytes = pattern(65536, 2);
    while (while_the_server_writes.send_some(bytes) == bytes.size()) {
    }
    while_the_server_writes.reset();
  }
}

void half_close_and_read_on(std::uint16_t port, int times) {
  for (int i = 0; i != times; ++i) {
    peer silent(port);
    silent.half_close();
    EXPECT_EQ(silent.receive_all(), "");

    peer talker(port);
    const std::string bytes = pattern(static_cast<std::size_t>(1 + i * 7919), static_cast<std::uint64_t>(i));
    talker.send(bytes);
    talker.half_close();
    EXPECT_TRUE(talker.receive_all() == bytes);
  }
}

void trickle(std::uint16_t port, int bytes) {
  peer slow(port);
  const std::string text = pattern(static_cast<std::size_t>(bytes), 3);
  // Alternately one by one with their echoes, and without waiting.
  for (std::size_t i = 0; i != text.size(); ++i) {
    if (i / 16 % 2 == 0) {
      EXPECT_TRUE(slow.echoes(text.substr(i, 1)));
    } else {
      slow.send(text.substr(i, 1));
      if (i % 16 == 15) {
        EXPECT_TRUE(slow.receive(16) == text.substr(i - 15, 16));
      }
    }
  }
}

void do_not_read_for_a_while(std::uint16_t port, std::size_t size) {
  // Its receive buffer is bounded, but not so small that TCP itself would stumble from one retransmission to the next.
  peer reluctant(port, 256 * 1024);
  const std::string bytes = pattern(size, 4);
  // Until the server stops taking: its own writes wait, so it no longer reads.
  std::size_t sent = 0;
  for (bool room = true; room && sent != size;) {
    sent += reluctant.send_some(std::string_view(bytes).substr(sent));
    pollfd writable{reluctant.fd(), POLLOUT, 0};
    room = ::poll(&writable, 1, 200) > 0;
  }
  EXPECT_LT(sent, size) << "nothing pushes back";
  std::thread rest([&] { reluctant.send(std::string_view(bytes).substr(sent)); });
  EXPECT_TRUE(reluctant.receive(size) == bytes);
  rest.join();
  reluctant.half_close();
  EXPECT_EQ(reluctant.receive_all(), "");
}

class hostile_peers : public on_each_driver {
protected:
  /// `act` while a well-behaved connection and a silent one are there; then everything must be as before.
  static void beside_good_ones(const std::function<void(std::uint16_t)>& act) {
    echo_under_test echo(GetParam());
    {
      peer silent(echo.server.port());
      const good_neighbour neighbour(echo.server.port());
      act(echo.server.port());
      EXPECT_TRUE(silent.echoes("I can speak after all"));
    }
    echo.expect_nothing_left();
    echo.expect_clean_exit();
  }
};

TEST_P(hostile_peers, reset) {
  beside_good_ones([](std::uint16_t port) { reset_at_every_moment(port, scaled(50, 10, 10)); });
}

TEST_P(hostile_peers, half_close) {
  beside_good_ones([](std::uint16_t port) { half_close_and_read_on(port, scaled(100, 30, 20)); });
}

TEST_P(hostile_peers, trickle) {
  beside_good_ones([](std::uint16_t port) { trickle(port, scaled(4096, 1024, 512)); });
}

TEST_P(hostile_peers, say_nothing) {
  beside_good_ones([](std::uint16_t port) {
    std::vector<peer> silent;
    for (int i = 0; i != 200; ++i) {
      silent.emplace_back(port);
    }
    peer between(port);
    EXPECT_TRUE(between.echoes("hello"));
  });
}

TEST_P(hostile_peers, do_not_read) {
  // More than both ends' socket buffers may grow to.
  beside_good_ones([](std::uint16_t port) { do_not_read_for_a_while(port, std::size_t{24} << 20); });
}

TEST_P(hostile_peers, all_at_once) {
  beside_good_ones([](std::uint16_t port) {
    std::vector<std::thread> crowd;
    std::atomic<int> failures = 0;
    const auto add = [&](auto act) {
      crowd.emplace_back([&failures, act] {
        try {
          act();
        } catch (const std::exception& reason) {
          ++failures;
          std::fprintf(stderr, "%s\n", reason.what());
        }
      });
    };
    for (int i = 0; i != 2; ++i) {
      add([port] { reset_at_every_moment(port, scaled(30, 5, 5)); });
      add([port] { half_close_and_read_on(port, scaled(50, 10, 10)); });
      add([port] { trickle(port, scaled(2048, 512, 256)); });
    }
    add([port] { do_not_read_for_a_while(port, std::size_t{24} << 20); });
    for (std::thread& each : crowd) {
      each.join();
    }
    EXPECT_EQ(failures, 0);
  });
}

ARAMID_E2E_ON_EACH_DRIVER(hostile_peers);

}  // namespace
}  // namespace aramid::e2e
