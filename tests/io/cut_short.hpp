// Reads that are cancelled at about the moment at which data arrive, all the time; a writer that sees to it that they are.
#pragma once

#include <algorithm>
#include <cstddef>
#include <random>
#include <utility>

#include <aramid/fiber.hpp>
#include <aramid/semaphore.hpp>

namespace aramid::test {

/// Calls `write(from, size)` for pieces of 1 to `longest` bytes until `total` are written. One time in four it goes on only when a read has been
/// cut short, which the reader says by `cut_short`: so it never runs so far ahead that no reader waits.
template <class Write>
void write_between_cuts(std::size_t total, counting_semaphore<>& cut_short, Write&& write, std::mt19937& random, std::size_t longest = 3) {
  for (std::size_t sent = 0; sent < total;) {
    if (random() % 4 == 0) {
      cut_short.acquire();
    }
    const std::size_t size = std::min<std::size_t>(1 + random() % longest, total - sent);
    write(sent, size);
    sent += size;
  }
}

template <class Write>
void write_between_cuts(std::size_t total, counting_semaphore<>& cut_short, Write&& write) {
  std::mt19937 random(1);
  write_between_cuts(total, cut_short, std::forward<Write>(write), random);
}

/// Runs `read` in a fiber of its own, cancels it when others have had a few turns, and waits for its end.
template <class Read>
void cancel_soon(std::mt19937& random, Read&& read) {
  fiber<> reading = spawn(std::forward<Read>(read));
  for (unsigned turns = random() % 4; turns > 0; --turns) {
    this_fiber::yield();
  }
  reading.cancel();
  try {
    reading.join();
  } catch (const fiber_cancelled&) {
  }
}

}  // namespace aramid::test
