// For tests that begin once another fiber waits: by what the runtime says, not by a time in which it ought to have got there.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include <aramid/dump.hpp>
#include <aramid/fiber.hpp>

#include "tests/runtime/runtime_fixture.hpp"

namespace aramid::test {

/// Suspends until that many fibers of the calling one's runtime wait in `operation`: "tcp_stream::read_some".
inline void until_waiting_in(std::string_view operation, std::size_t fibers = 1) {
  // Waits of I/O are on no object (dump.hpp): the name ends the line.
  const std::string wait = std::string(" s in ").append(operation).append("\n");
  EXPECT_TRUE(eventually([&] {
    this_fiber::sleep_for(std::chrono::milliseconds(1));
    const std::string dump = dump_fibers();
    std::size_t found = 0;
    for (std::size_t at = dump.find(wait); at != std::string::npos; at = dump.find(wait, at + 1)) {
      ++found;
    }
    return found >= fibers;
  })) << operation;
}

}  // namespace aramid::test
