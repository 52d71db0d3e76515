// An item from one fiber to another on the same worker: handed over, and through a buffer of 128.
#include <cstddef>

#include <aramid/channel.hpp>
#include <aramid/fiber.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

void channel_items(benchmark::State& state, std::size_t capacity) {
  on_fiber([&] {
    channel<long> items(capacity);
    auto producer = spawn([&] {
      try {
        for (long n = 0;; ++n) {
          items.send(n);
        }
      } catch (const channel_closed&) {
      }
    });
    repeat(state, [&] { benchmark::DoNotOptimize(*items.receive()); });
    items.close();
    producer.join();
  });
}

const auto* const rendezvous =
    add("channel_rendezvous/aramid", [](benchmark::State& s) { channel_items(s, 0); });
const auto* const buffered =
    add("channel_buffered/aramid", [](benchmark::State& s) { channel_items(s, 128); });

}  // namespace
}  // namespace aramid::bench
