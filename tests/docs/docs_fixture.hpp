// What the tests behind docs/ share. Each of them has one row of a page: the lines between `// row:` and `// end` stand there too
// (tests/docs.cmake).
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <span>
#include <utility>

#include <aramid/aramid.hpp>

#include "tests/runtime/runtime_fixture.hpp"

namespace aramid::test {

/// A row is tried where fibers take turns, and where they run side by side.
inline const auto few_or_many = ::testing::Values(1U, 4U);

/// Gives back what it gets, to any number of peers.
class echo_service {
public:
  [[nodiscard]] io::endpoint where() const { return listener_.local_endpoint(); }

private:
  static void echo(io::tcp_stream peer) {
    std::array<std::byte, 4096> buffer;
    while (const std::size_t count = peer.read_some(buffer)) {
      peer.write_all(std::span(buffer).first(count));
    }
  }

  io::tcp_listener listener_{io::endpoint("127.0.0.1", 0)};
  task_group peers_{on_error::isolate};
  fiber<> acceptor_ = spawn([this] {
    for (;;) {
      peers_.spawn(echo, listener_.accept());
    }
  });
};

}  // namespace aramid::test
