// How a runtime comes to its end: what `stop` and everybody whom it waits for do with each other. Births and ends happen all the time
// and pay a store, a look and a light fence; `stop` happens once and pays with heavy ones.
//
//   birth from outside of the workers
//     B1. births_ + 1; light fence (pairs with S5); looks at stopping_. If so: births_ - 1, E3, and the birth is refused
//   birth in a worker
//     B2. tally.born + 1, before any other worker can meet the fiber
//   start, of both
//     B3. the fiber is alive (step 1 of fiber_life.hpp); light fence (pairs with S5); looks at stopping_. If so the fiber is born
//         cancelled. Then it is queued
//   end
//     E1. tally.ended + 1, of the worker that it ended on (release; pairs with S3)
//     E2. light fence (pairs with S2); looks at waiting_
//     E3. if so: noted_ + 1 (release; pairs with S3), and wakes who sleeps on it
//   stop
//     S1. waiting_ = true
//     S2. heavy fence (pairs with E2)
//     S3. reads noted_ (acquire), every end (acquire), then every birth. Equal: no fiber lives. Else sleeps while noted_ is what
//         it was, and again
//     S4. its patience is over: stopping_ = true
//     S5. heavy fence (pairs with B1 and B3)
//     S6. cancels every fiber there is (step 5 of fiber_life.hpp)
//     S7. S3, without patience
//     S8. ends the workers' threads; waits until guests_ is 0 (acquire; pairs with G3)
//   guest: a thread that is no worker, and has a fiber to queue
//     G1. guests_ + 1
//     G2. queues the fiber and wakes a worker
//     G3. guests_ - 1 (release): its last touch of the runtime
//
// Why equal sums mean that no fiber lives (S3, after S5). A birth happens before its fiber's end, so whoever counts the end counts the
// birth. Of a fiber that lives when the births are read, its parent, that one's parent and so on, take the oldest whose end was not
// counted. Its birth was: it was admitted from outside, and of B1 and S4 … S3 one sees the other; or its parent's end was counted, and
// comes after it. So there is a birth more than there are ends. To read the births before the ends would not do: in between
// a parent could bear a child and end.
// Before S5 equal sums mean little, as more may be born from outside.
//
// Why `stop` sleeps not for ever. Of E1 (store) … E2 (look) and S1 (store) … S3 (look), with the fences between, one sees the other's:
// the end is counted or noted. If it is noted after S3 has read noted_, the sleep ends, or does not begin; if before, S3 sees the end.
//
// Why no fiber escapes. Of B3 (alive) … (look) and S4 (store) … S6 (look) one sees the other's. If both do, it is cancelled twice.
//
// Why no guest is left behind. The fiber that it queues cannot end before that, so whoever has counted the end has seen G1.
//
// Rejected: one counter of living fibers. Two read-modify-writes for each life would make it the busiest word of the program.
#pragma once

#include <atomic>
#include <cstdint>

#include <aramid/detail/config.hpp>

#include "asymmetric_fence.hpp"
#include "futex.hpp"

namespace aramid::inline v0::detail {

/// What one worker counts: written by it alone.
template <class Atomics = asymmetric_atomics>
class fiber_tally {
public:
  /// B2.
  void count_birth() noexcept {
    // Relaxed: the queue that carries the fiber carries this too.
    born_.store(born_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  /// E1.
  void count_end() noexcept {
    ended_.store(ended_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

  [[nodiscard]] std::uint64_t born() const noexcept { return born_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t ended() const noexcept { return ended_.load(std::memory_order_acquire); }

private:
  typename Atomics::template atomic<std::uint64_t> born_{0};
  typename Atomics::template atomic<std::uint64_t> ended_{0};
};

struct kernel_futex {
  static void wake(const std::atomic<std::uint32_t>& word) noexcept { futex_wake(&word); }
};

/// `Futex` wakes who sleeps on a word; the model checker brings its own.
template <class Atomics = asymmetric_atomics, class Futex = kernel_futex>
class shutdown_gate {
public:
  using tally = fiber_tally<Atomics>;
  using futex_word = typename Atomics::template atomic<std::uint32_t>;

  // --- births and ends -----------------------------------------------------------------------------------------------

  /// B1. Whether the fiber may be born; then it has to be started, or revoked.
  [[nodiscard]] bool admit() noexcept {
    births_.fetch_add(1, std::memory_order_relaxed);
    if (ARAMID_LIKELY(!stops_births())) {
      return true;
    }
    revoke();
    return false;
  }

  /// Takes back an `admit`.
  void revoke() noexcept {
    births_.fetch_sub(1, std::memory_order_relaxed);
    note_end();
  }

  /// B1 and B3, the latter after the fiber has become alive: whether it is too late.
  [[nodiscard]] bool stops_births() const noexcept {
    Atomics::light_fence();
    return stopping_.load(std::memory_order_relaxed);
  }

  /// E1–E3, on the worker whose `counts` they are.
  void end_on(tally& counts) noexcept {
    counts.count_end();
    Atomics::light_fence();
    if (ARAMID_UNLIKELY(waiting_.load(std::memory_order_relaxed))) {
      note_end();
    }
  }

  // --- guests --------------------------------------------------------------------------------------------------------

  /// G1 and G3.
  class visit {
  public:
    explicit visit(shutdown_gate& to) noexcept : to_(to) { to_.guests_.fetch_add(1, std::memory_order_relaxed); }
    ~visit() { to_.guests_.fetch_sub(1, std::memory_order_release); }
    visit(const visit&) = delete;
    visit& operator=(const visit&) = delete;

  private:
    shutdown_gate& to_;
  };

  // --- stop ----------------------------------------------------------------------------------------------------------

  /// S1 and S2.
  void begin_wait() noexcept {
    waiting_.store(true, std::memory_order_relaxed);
    Atomics::heavy_fence();
  }

  /// S3. `tally_of(i)` is what worker `i` counts. `sleep(word, value)` sleeps while the word holds the value, and may return for no
  /// reason; or returns false if it will wait no more.
  /// Returns: whether no fiber lives.
  template <class TallyOf, class Sleep>
  [[nodiscard]] bool wait(unsigned workers, TallyOf tally_of, Sleep sleep) noexcept {
    for (;;) {
      const std::uint32_t noted = noted_.load(std::memory_order_acquire);
      std::uint64_t ended = 0;
      for (unsigned i = 0; i != workers; ++i) {
        ended += tally_of(i).ended();
      }
      std::uint64_t born = births_.load(std::memory_order_relaxed);
      for (unsigned i = 0; i != workers; ++i) {
        born += tally_of(i).born();
      }
      if (born == ended) {
        return true;
      }
      if (!sleep(noted_, noted)) {
        return false;
      }
    }
  }

  /// S4 and S5. Every fiber has to be cancelled after it.
  void stop_births() noexcept {
    stopping_.store(true, std::memory_order_relaxed);
    Atomics::heavy_fence();
  }

  /// S8, when no fiber lives.
  void wait_for_guests() const noexcept {
    while (guests_.load(std::memory_order_acquire) != 0) {
      Atomics::yield();
    }
  }

  /// For statistics.
  [[nodiscard]] std::uint64_t births_from_outside() const noexcept { return births_.load(std::memory_order_relaxed); }

private:
  /// E3.
  void note_end() noexcept {
    noted_.fetch_add(1, std::memory_order_release);
    Futex::wake(noted_);
  }

  typename Atomics::template atomic<bool> waiting_{false};   // written by `stop`, as is the next
  typename Atomics::template atomic<bool> stopping_{false};
  // Not in the cache line that every birth and every end looks at.
  alignas(64) typename Atomics::template atomic<std::uint64_t> births_{0};  // from outside
  futex_word noted_{0};
  futex_word guests_{0};
};

}  // namespace aramid::inline v0::detail
