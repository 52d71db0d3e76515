// Semaphores, events and shared locks: one that nobody else wants, and two fibers that wake each other by turns.
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/semaphore.hpp>
#include <aramid/shared_mutex.hpp>

#include "bench_support.hpp"

namespace aramid::bench {
namespace {

const auto* const permit = add("semaphore/aramid", [](benchmark::State& state) {
  on_fiber([&] {
    counting_semaphore<> permits(1);
    repeat(state, [&] {
      permits.acquire();
      benchmark::ClobberMemory();
      permits.release();
    });
  });
});

const auto* const share = add("shared_mutex/aramid", [](benchmark::State& state) {
  on_fiber([&] {
    shared_mutex lock;
    repeat(state, [&] {
      lock.lock_shared();
      benchmark::ClobberMemory();
      lock.unlock_shared();
    });
  });
});

/// Two fibers, each of which waits for its own flag and raises the other's by turns. Two hand-offs a round.
template <class Flag, class Raise, class Take>
void hand_to_and_fro(benchmark::State& state, Flag& here, Flag& there, Raise raise, Take take) {
  bool stop = false;
  auto other = spawn([&] {
    for (take(there); !stop; take(there)) {
      raise(here);
    }
  });
  repeat(
      state,
      [&] {
        raise(there);
        take(here);
      },
      2);
  stop = true;
  raise(there);
  other.join();
}

const auto* const by_semaphore = add("semaphore_handoff/aramid", [](benchmark::State& state) {
  on_fiber([&] {
    binary_semaphore here(0);
    binary_semaphore there(0);
    hand_to_and_fro(
        state, here, there, [](binary_semaphore& flag) { flag.release(); }, [](binary_semaphore& flag) { flag.acquire(); });
  });
});

const auto* const by_event = add("event_handoff/aramid", [](benchmark::State& state) {
  on_fiber([&] {
    event here;
    event there;
    const auto take = [](event& flag) {
      flag.wait();
      flag.clear();
    };
    hand_to_and_fro(state, here, there, [](event& flag) { flag.set(); }, take);
  });
});

}  // namespace
}  // namespace aramid::bench
