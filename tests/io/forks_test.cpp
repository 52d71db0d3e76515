// I/O in a forked child: streams of its parent are refused and closed without harm to the parent's connection; runtimes of its own
// have rings of their own.
#include <aramid/io/file.hpp>
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

#include "leak_check.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/forked_child.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::in_a_child;
using aramid::test::loopback;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;
using aramid::test::tcp_pair;

class fork_io : public aramid::test::forking<aramid::test::on_each_driver> {};
ARAMID_ON_EACH_DRIVER(fork_io);

/// A connection whose server end is being read, and what has been read.
struct echoing {
  runtime rt;
  std::optional<tcp_pair> pair;
  fiber<> reader;

  explicit echoing(const aramid::test::setting& on) : rt(on.opts()) {
    pair = rt.spawn([] { return make_tcp_pair(); }).join();
    reader = rt.spawn([this] {
      std::array<std::byte, 4096> buffer;
      while (const std::size_t n = pair->server.read_some(buffer)) {
        pair->server.write_all(std::span(buffer).first(n));
      }
    });
  }

  /// Whether every byte comes back.
  bool works() {
    const auto data = pattern(10'000);
    std::vector<std::byte> back(data.size());
    pair->client.write_all(data);
    pair->client.read_exactly(back);
    return back == data;
  }
};

// "fork shares the ring" (eio#801)
TEST_P(fork_io, a_child_is_refused_and_closes_only_its_own_descriptors) {
  echoing parents(GetParam());
  ASSERT_TRUE(parents.works());
  EXPECT_TRUE(in_a_child([&] {
    std::array<char, 1> buffer;
    bool refused = false;
    try {
      parents.pair->client.read_some(buffer);
    } catch (const std::logic_error&) {
      refused = true;
    }
    parents.pair->client.close();
    parents.pair->server.close();  // a fiber of the parent is reading from it
    return refused;
  }));
  EXPECT_TRUE(parents.works());
  parents.pair->client.close();
  parents.reader.join();
}

TEST_P(fork_io, a_fiber_forks_while_its_runtime_does_io) {
  echoing parents(GetParam());
  ASSERT_TRUE(parents.works());
  parents.rt.spawn([&] {
    EXPECT_TRUE(in_a_child([&] {
      parents.pair.reset();
      return true;
    }));
  }).join();
  EXPECT_TRUE(parents.works());
  parents.pair->client.close();
  parents.reader.join();
}

TEST_P(fork_io, a_child_does_io_of_its_own) {
  echoing parents(GetParam());
  ASSERT_TRUE(parents.works());
  for (int i = 0; i != 5; ++i) {
    EXPECT_TRUE(in_a_child([&] {
      echoing own(GetParam());
      const bool works = own.works();
      own.pair->client.close();
      own.reader.join();
      return works;
    }));
    EXPECT_TRUE(parents.works());
  }
  parents.pair->client.close();
  parents.reader.join();
}

}  // namespace
