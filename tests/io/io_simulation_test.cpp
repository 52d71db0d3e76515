// Sockets and files under thousands of seeds, stepped on one thread over a driver that delays, interrupts, cuts short and misses cancels
// (io/src/fake/fake_driver.hpp). Every byte is known by its place, so that a lost, doubled or misplaced one shows; a lost wake leaves the
// simulation stuck; an operation that its fiber left behind writes into a stack that is somebody else's by then.
#include <gtest/gtest.h>

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/io/error.hpp>
#include <aramid/io/file.hpp>
#include <aramid/io/tcp.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "io_simulation.hpp"
#include "leak_check.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/seeds.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

using io_simulation_test = leak_check;

/// Steps `root`, on as many workers as the seed says, until nothing is left of it. Returns: the trace.
template <class Root>
std::uint64_t simulate(std::uint64_t seed, Root root) {
  io_simulation all(seed, workers_for(seed));
  auto running = all.spawn(std::move(root));
  all.run();
  running.join();
  return all.trace();
}

class dice {
public:
  explicit dice(std::uint64_t seed) : random_(seed) {}
  std::size_t up_to(std::size_t most) { return 1 + random_() % most; }
  bool one_in(unsigned count) { return random_() % count == 0; }
  clock::duration moment() { return std::chrono::nanoseconds(random_() % 300'000); }

private:
  std::mt19937_64 random_;
};

/// Calls `fn` until it says that it is done, mostly with too little time, or from a fiber that is cancelled by another.
template <class Fn>
void in_bits(dice& chance, Fn fn) {
  for (bool done = false; !done;) {
    if (chance.one_in(4)) {
      done = fn();
    } else if (chance.one_in(2)) {
      (void)try_with_timeout(chance.moment(), [&] { done = fn(); });
    } else {
      fiber<> calling = spawn([&] { done = fn(); });
      this_fiber::sleep_for(chance.moment());
      calling.cancel();
      try {
        calling.join();
      } catch (const fiber_cancelled&) {
        EXPECT_FALSE(done);
      }
    }
  }
}

constexpr std::size_t stream_bytes = 5'000;

/// Sends the pattern in pieces, each cut short by deadlines as often as not.
void send_all_of_it(io::tcp_stream& to, dice& chance) {
  const std::vector<std::byte> all = pattern(stream_bytes);
  std::size_t sent = 0;
  while (sent != all.size()) {
    const std::size_t piece = std::min(chance.up_to(700), all.size() - sent);
    std::size_t written = 0;
    in_bits(chance, [&] {
      // What a call that was cut short has sent is in `now`, however it ends.
      std::size_t now = 0;
      struct adds {
        std::size_t& to;
        const std::size_t& what;
        ~adds() { to += what; }
      } const at_end{written, now};
      to.write_all(std::span(all).subspan(sent + written, piece - written), now);
      return true;
    });
    ASSERT_EQ(written, piece);
    sent += piece;
  }
  to.shutdown(io::shutdown_how::write);
}

/// Receives until the end, and compares each byte with that of its place.
void receive_all_of_it(io::tcp_stream& from, dice& chance) {
  std::size_t got = 0;
  for (bool ended = false; !ended;) {
    std::vector<std::byte> buffer(chance.up_to(600));
    std::size_t count = 0;
    if (chance.one_in(2)) {
      in_bits(chance, [&] {
        count = from.read_some(buffer);
        ended = count == 0;
        return true;
      });
    } else {
      // What a read_exactly that was cut short had got is still there.
      std::error_code error;
      in_bits(chance, [&] {
        from.read_exactly(buffer, error);
        return true;
      });
      if (error == io::errc::end_of_stream) {
        continue;  // the rest comes with read_some
      }
      ASSERT_FALSE(error) << error.message();
      count = buffer.size();
    }
    ASSERT_LE(got + count, stream_bytes);
    for (std::size_t i = 0; i != count; ++i) {
      ASSERT_EQ(buffer[i], pattern_at(got + i)) << "at " << got + i;
    }
    got += count;
  }
  EXPECT_EQ(got, stream_bytes);
}

void both_ways(io::tcp_stream& one, io::tcp_stream& other, std::uint64_t seed) {
  with_task_group([&](task_group& group) {
    std::array<dice, 4> chance{dice(seed), dice(seed + 1), dice(seed + 2), dice(seed + 3)};
    group.spawn([&] { send_all_of_it(one, chance[0]); });
    group.spawn([&] { send_all_of_it(other, chance[1]); });
    group.spawn([&] { receive_all_of_it(one, chance[2]); });
    group.spawn([&] { receive_all_of_it(other, chance[3]); });
    group.join();
  });
}

TEST_F(io_simulation_test, no_byte_is_lost_or_doubled_by_deadlines) {
  for_each_seed(500, [](std::uint64_t seed) {
    simulate(seed, [&] {
      auto [one, other] = make_unix_pair();
      both_ways(one, other, seed);
    });
  });
}

TEST_F(io_simulation_test, nor_of_many_connections_over_tcp) {
  for_each_seed(100, [](std::uint64_t seed) {
    simulate(seed, [&] {
      io::tcp_listener listener(loopback);
      dice chance(seed);
      with_task_group([&](task_group& group) {
        for (int i = 0; i != 4; ++i) {
          group.spawn([&, i] {
            std::optional<io::tcp_stream> client;
            in_bits(chance, [&] {
              client = io::connect(listener.local_endpoint());
              return true;
            });
            std::optional<io::tcp_stream> server;
            in_bits(chance, [&] {
              server = listener.accept();
              return true;
            });
            dice mine(seed + static_cast<std::uint64_t>(i));
            // Whose other end it is nobody knows, and a connect that was given up may have left one that ends at once.
            client->write_all(pattern(100));
            client->shutdown(io::shutdown_how::write);
            std::vector<std::byte> came(100);
            std::error_code error;
            server->read_exactly(came, error);
            EXPECT_TRUE(error == io::errc::end_of_stream || error == std::errc::connection_reset || (!error && came == pattern(100)))
                << error.message();
          });
        }
        group.join();
      });
    });
  });
}

TEST_F(io_simulation_test, closing_ends_whoever_waits) {
  for_each_seed(1000, [](std::uint64_t seed) {
    simulate(seed, [&] {
      auto [one, other] = make_unix_pair();
      dice chance(seed);
      std::array<std::byte, 64> buffer;
      int ended = 0;
      with_task_group([&](task_group& group) {
        group.spawn([&] {
          std::error_code error;
          while (!error && one.read_some(buffer, error) != 0) {
          }
          EXPECT_TRUE(!error || error == io::errc::closed || error == std::errc::connection_reset) << error.message();
          ++ended;
        });
        group.spawn([&] {
          const std::vector<std::byte> much = pattern(1'000'000);  // more than the kernel takes
          std::error_code error;
          one.write_all(much, error);
          EXPECT_TRUE(error == io::errc::closed || error == std::errc::broken_pipe || error == std::errc::connection_reset) << error.message();
          ++ended;
        });
        group.spawn([&] {
          this_fiber::sleep_for(chance.moment());
          one.close();
        });
        if (chance.one_in(2)) {
          group.spawn([&] {
            this_fiber::sleep_for(chance.moment());
            one.close();
          });
        }
        if (chance.one_in(2)) {
          group.spawn([&] {
            this_fiber::sleep_for(chance.moment());
            other.close();
          });
        }
        group.join();
      });
      EXPECT_EQ(ended, 2);
      EXPECT_FALSE(one.is_open());
    });
  });
}

TEST_F(io_simulation_test, files_are_what_was_written_to_them) {
  for_each_seed(300, [](std::uint64_t seed) {
    simulate(seed, [&] {
      const int fd = ::open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
      ASSERT_GE(fd, 0);
      io::file file = io::file::adopt(fd);
      dice chance(seed);
      constexpr std::size_t parts = 6;
      constexpr std::size_t part = 1'000;
      with_task_group([&](task_group& group) {
        for (std::size_t i = 0; i != parts; ++i) {
          group.spawn([&, i] {
            const std::vector<std::byte> mine = pattern(part, i * part);
            // Writing twice what was written is no harm.
            in_bits(chance, [&] {
              file.write_at(i * part, mine);
              return true;
            });
            std::vector<std::byte> back(part);
            in_bits(chance, [&] {
              EXPECT_EQ(file.read_at(i * part, back), part);
              return true;
            });
            EXPECT_EQ(back, mine);
          });
        }
        group.join();
      });
      std::vector<std::byte> whole(parts * part);
      EXPECT_EQ(file.read_at(0, whole), whole.size());
      EXPECT_EQ(whole, pattern(whole.size()));
      EXPECT_EQ(file.size(), whole.size());
      file.close();
    });
  });
}

TEST_F(io_simulation_test, a_seed_replays_exactly) {
  for_each_seed(50, [](std::uint64_t seed) {
    const auto program = [&] {
      auto [one, other] = make_unix_pair();
      both_ways(one, other, seed);
    };
    EXPECT_EQ(simulate(seed, program), simulate(seed, program));
  });
}

}  // namespace
}  // namespace aramid::test
