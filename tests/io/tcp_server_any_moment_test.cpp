// tcp_server ended at random moments, in each of its ways.
#include <aramid/io/tcp_server.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <stdexcept>
#include <string_view>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/task_group.hpp>

#include "leak_check.hpp"
#include "server_clients.hpp"
#include "tests/runtime/scale.hpp"

namespace {

using namespace aramid;
using namespace aramid::io;
using namespace aramid::test;

class tcp_server_ends : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp_server_ends);

// Everything at once: clients that come and go, handlers that finish, fail and stay, and at some moment the end, of one kind or another.
TEST_P(tcp_server_ends, at_any_moment) {
  const int rounds = scaled(60, 10);
  run([rounds] {
    std::mt19937 random(GetParam().workers);
    for (int round = 0; round < rounds; ++round) {
      std::atomic<std::uint64_t> began{0};
      std::atomic<std::uint64_t> ended{0};
      auto server = std::make_unique<tcp_server>(
          loopback,
          [&](tcp_stream peer) {
            struct count {
              std::atomic<std::uint64_t>& of;
              ~count() { ++of; }
            };
            ++began;
            const count at_end{ended};
            switch (read_char(peer)) {
              case 'f':
                throw std::runtime_error("on purpose");
              case 's':
                linger_on(std::move(peer));
                break;
              default:
                peer.write_all("x");
            }
          },
          server_options{.max_connections = 1 + random() % 6, .on_error = [](const std::exception_ptr&) {}});
      const endpoint where = server->local_endpoint();
      fiber<> serving = spawn([&, &server = *server] { server.serve(); });
      task_group clients(on_error::isolate, [](const std::exception_ptr&) {});
      for (unsigned c = 0; c < 10; ++c) {
        clients.spawn([&where, kind = random() % 3] {
          for (int i = 0; i < 5; ++i) {
            tcp_stream client = connect(where);
            client.write_all(std::string_view("fsg").substr(kind, 1));
            (void)read_char(client);
          }
        });
      }
      for (unsigned i = random() % 40; i > 0; --i) {
        this_fiber::yield();
      }
      const auto end = random() % 4;
      if (end >= 2) {
        // Nobody else waits for the fiber that serves, so it must have called `serve` before the server is destroyed.
        wait_until([&] { return server->stats().accepted != 0; });
      }
      switch (end) {
        case 0:
          server->stop();
          serving.join();
          break;
        case 1:
          serving.cancel();
          serving.wait();
          break;
        case 2:
          server->drain(std::chrono::microseconds(random() % 500));
          EXPECT_EQ(began, ended);
          EXPECT_EQ(server->stats().active, 0U);
          break;
        default:
          break;  // destroyed as it stands there
      }
      const server_statistics last = server->stats();
      EXPECT_EQ(last.accepted, last.active + last.finished + last.failed + last.cancelled);
      server.reset();
      EXPECT_EQ(began, ended);
      if (serving.joinable()) {
        serving.wait();
      }
      clients.cancel();
      clients.join();
    }
  });
}

}  // namespace
