// Who sleeps, who searches, and whom a producer of work must wake: the protocol by which no wake is lost and none is
// wasted.
//
// A worker runs, searches (looks for work at its peers), or is parked. `counts_` holds how many search and how many
// are parked. At most half as many as can run at once search at once: more would only contend. And no more are woken than can run at
// once: with 8 workers on 2 CPUs six are *spare*. They would take the CPU from those who have the work, in the middle of it.
//
//   producer (any thread that has made a fiber runnable)
//     P1. publishes the work: a queue's index, a slot, the injection queue
//     P2. seq_cst fence                                              (pairs with W3)
//     P3. reads counts_: somebody searches, or none but spare workers are parked → done: whoever searches, or runs, will find it
//     P4. else takes a parked worker off the list, counts it as searching, and wakes its driver
//
//   worker with nothing to run
//     W1. begins to search, if few enough do; looks at every peer and at the injection queue
//     W2. found: ends its search; if it was the last to search it does P3, P4 for what producers left to it
//     W3. found nothing: goes onto the parked list, searching-1, parked+1; seq_cst fence   (pairs with P2)
//     W4. looks at every queue once more; if there is work, and so few search that it may, it takes itself off the list and begins
//         to search (W1): several producers may have left their work to it. If it may not, it goes on to W5: the last of those who
//         search, at W2 or at its own W3, comes after this worker's W3 and finds it on the list
//     W5. sleeps in its driver, whose wake is sticky
//     W6. woken: either a producer took it off the list (it now counts as searching), or I/O or a timer woke
//         it and it takes itself off the list
//
// Why no wake is lost: of P1 (store) … P3 (load) and W3 (store) … W4 (load), with a seq_cst fence between each pair,
// at least one load sees the other's store. If W4 sees the work, the worker searches, and W2 follows. If P3 sees the worker parked and
// nobody searching, it is woken. If P3 sees a searcher, that searcher has yet to pass W2 or W3: at W2 it wakes the
// next, at W3 its W4 comes after P1. And if P3 sees that as many are awake as can run, each of these has its W3 and W4 before it; unless
// they are stuck in fibers, which the watchdog sees, who then wakes a spare one (`wake_spare`).
//
// In a crowd (worker_crowded.cpp) this holds for what is worth a visit. A woken fiber that is not has its worker, which is awake, and for whom the
// watchdog wakes a peer should it be late.
//
// Rejected: a wake for every push (each costs a system call and a cold search), and one for none (tokio#7995: I/O-bound
// fibers then never spread).
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include <aramid/detail/atomics.hpp>
#include <aramid/detail/spin_lock.hpp>

namespace aramid::inline v0::detail {

/// `Lock` guards the list of the parked; the model checker brings its own. `MaxWorkers` bounds the list.
template <class Atomics = std_atomics, class Lock = spin_lock, unsigned MaxWorkers = 1024>
class idle_set {
public:
  static constexpr int none = -1;

  /// `at_once`: how many of the workers can run at once. The others are spare.
  idle_set(unsigned workers, unsigned at_once) noexcept
      : at_once_(at_once), spare_(workers > at_once ? workers - at_once : 0) {}

  /// P2–P4. Returns the worker to wake, or `none`.
  int wake_one() noexcept { return wake_one(spare_); }

  /// The same where one of those who run is stuck: a spare one takes its place.
  int wake_spare() noexcept { return wake_one(0); }

  /// W1. Whether the caller may search. It then must call `end_search` or `park`.
  bool begin_search() noexcept {
    if (!may_search()) {
      return false;
    }
    add(searching_one);
    return true;
  }

  /// W4. Whether `begin_search` would have let the caller search.
  [[nodiscard]] bool may_search() const noexcept {
    return 2 * searching_of(counts_.load(std::memory_order_relaxed)) < at_once_;
  }

  /// W2. Returns true if the caller was the last to search: it must then try `wake_one`.
  bool end_search() noexcept {
    return searching_of(counts_.fetch_sub(searching_one, std::memory_order_seq_cst)) == 1;
  }

  /// W3. The caller must look at every queue once more before it sleeps.
  void park(unsigned worker, bool searching) noexcept {
    {
      const std::lock_guard lock(lock_);
      parked_list_[parked_of(counts_.load(std::memory_order_relaxed))] =
          static_cast<std::uint16_t>(worker);
      add(searching ? parked_one - searching_one : parked_one);
    }
    Atomics::fence(std::memory_order_seq_cst);
  }

  /// W4 and W6. Returns true if the caller took itself off the list, false if a producer had: the caller then counts
  /// as searching.
  bool unpark_self(unsigned worker) noexcept {
    const std::lock_guard lock(lock_);
    const unsigned parked = parked_of(counts_.load(std::memory_order_relaxed));
    for (unsigned i = parked; i-- != 0;) {
      if (parked_list_[i] == worker) {
        for (unsigned j = i + 1; j != parked; ++j) {
          parked_list_[j - 1] = parked_list_[j];
        }
        add(0 - parked_one);
        return true;
      }
    }
    return false;
  }

  [[nodiscard]] unsigned parked() const noexcept {
    return parked_of(counts_.load(std::memory_order_relaxed));
  }

private:
  int wake_one(unsigned spare) noexcept {
    Atomics::fence(std::memory_order_seq_cst);
    if (!wake_wanted(counts_.load(std::memory_order_relaxed), spare)) {
      return none;
    }
    const std::lock_guard lock(lock_);
    const std::uint64_t counts = counts_.load(std::memory_order_relaxed);
    if (!wake_wanted(counts, spare)) {
      return none;
    }
    const unsigned last = parked_of(counts) - 1;
    // Whoever parked last is the warmest.
    const auto worker = static_cast<int>(parked_list_[last]);
    add(searching_one - parked_one);
    return worker;
  }

  static constexpr std::uint64_t searching_one = 1;
  static constexpr std::uint64_t parked_one = std::uint64_t{1} << 32;

  static constexpr unsigned searching_of(std::uint64_t counts) noexcept {
    return static_cast<std::uint32_t>(counts);
  }
  static constexpr unsigned parked_of(std::uint64_t counts) noexcept {
    return static_cast<unsigned>(counts >> 32);
  }
  static constexpr bool wake_wanted(std::uint64_t counts, unsigned spare) noexcept {
    return searching_of(counts) == 0 && parked_of(counts) > spare;
  }

  // seq_cst: a searcher's decrement and a producer's read (after its fence) must be in one order.
  void add(std::uint64_t delta) noexcept { counts_.fetch_add(delta, std::memory_order_seq_cst); }

  const unsigned at_once_;
  const unsigned spare_;
  typename Atomics::template atomic<std::uint64_t> counts_{0};
  Lock lock_;
  std::uint16_t parked_list_[MaxWorkers] = {};  // under lock_; as many as counts_ says are parked
};

}  // namespace aramid::inline v0::detail
