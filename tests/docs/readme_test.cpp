// What README shows besides its program.
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

#include <aramid/aramid.hpp>

#include "docs_fixture.hpp"
#include "tests/io/tcp_pair.hpp"

using namespace aramid;
using namespace std::chrono_literals;

namespace {

class readme : public test::runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, readme, test::few_or_many);

void read_requests(io::tcp_stream& peer) {
  char buffer[64];
  while (peer.read_some(buffer) != 0) {
  }
  throw std::runtime_error("the peer has gone");
}

void send_lines(io::tcp_stream& peer, channel<std::string>& lines) {
  for (const std::string& line : lines) {
    peer.write_all(line);
  }
}

// row: cancellation
void converse(io::tcp_stream& peer, channel<std::string>& lines, std::chrono::milliseconds patience) {
  try {
    with_timeout(patience, [&] {                  // a deadline around any code: it throws timeout_error
      with_task_group([&](task_group& group) {    // joins both; if one fails, the other is cancelled
        group.spawn([&] { read_requests(peer); });
        group.spawn([&] { send_lines(peer, lines); });
      });
    });
  } catch (const cancelled&) {                    // this fiber has been cancelled: every wait throws from now on,
    shield_for(1s, [&] { peer.write_all("bye"); });  // but for a clean-up, which gets a second
    throw;
  }
}
// end

struct conversation {
  conversation() : conversation(test::make_tcp_pair()) {}
  explicit conversation(test::tcp_pair pair) : client(std::move(pair.client)), server(std::move(pair.server)) {}

  std::string next(std::size_t size) {
    std::string text(size, '\0');
    client.read_exactly(text);
    return text;
  }

  io::tcp_stream client;
  io::tcp_stream server;
  channel<std::string> lines;
};

TEST_P(readme, a_conversation_that_is_cancelled_says_goodbye) {
  run([] {
    conversation with;
    fiber<> serving = spawn([&] { converse(with.server, with.lines, 1h); });
    with.lines.send("hello");
    EXPECT_EQ(with.next(5), "hello");
    serving.cancel();
    EXPECT_EQ(with.next(3), "bye");
    EXPECT_THROW(serving.join(), fiber_cancelled);
  });
}

TEST_P(readme, a_conversation_whose_peer_goes_ends) {
  run([] {
    conversation with;
    fiber<> serving = spawn([&] { converse(with.server, with.lines, 1h); });
    with.client.close();
    EXPECT_THROW(serving.join(), std::runtime_error);
  });
}

TEST_P(readme, a_conversation_has_a_deadline) {
  run([] {
    conversation with;
    EXPECT_THROW(converse(with.server, with.lines, 10ms), timeout_error);
  });
}

}  // namespace
