// doorbell_word.hpp: what is put down before a ring is found by a worker that falls asleep, whatever else wakes it.
#include "io/src/doorbell_word.hpp"

#include <array>

#include "litmus.hpp"

namespace {

using namespace model;

using word = aramid::detail::doorbell_word<atomics>;

// Broken twins.
struct sleeps_without_a_look : word {
  bool begin_sleep() noexcept {
    word_.store(asleep);
    return true;
  }
};
struct stores_what_it_takes_back : word {
  bool begin_sleep() noexcept {
    std::uint32_t seen = awake;
    if (word_.compare_exchange_strong(seen, asleep)) return true;
    word_.store(awake);
    return false;
  }
};
struct stores_at_the_end : word {
  void end_sleep() noexcept { word_.store(awake); }
};
struct wakes_nobody : word {
  bool ring() noexcept { return word::ring() && false; }
};

/// A worker, what others put down for it, and the ring that it sleeps in. An execution passes when it has found so much.
template <class Word>
class system {
public:
  void put(std::size_t where) {
    items_[where].store(1, relaxed);
    if (word_.ring()) kernel_.signal();
  }

  /// The kernel's own: a completion.
  void complete() { kernel_.signal(); }

  // uring_driver::poll_or_sleep, and the worker's look at its queues
  void work(int wanted) {
    for (;;) {
      for (auto& each : items_) {
        if (each.load(relaxed) == 1) {
          each.store(2, relaxed);
          if (--wanted == 0) pass();
        }
      }
      if (word_.begin_sleep()) {
        kernel_.wait();
        word_.end_sleep();
      }
    }
  }

private:
  Word word_;
  std::array<model::atomic<int>, 2> items_;
  model::event kernel_;
};

template <class Word = word>
void one_rings() {
  system<Word> all;
  parallel([&] { all.work(1); }, [&] { all.put(0); });
}

template <class Word = word>
void two_ring() {
  system<Word> all;
  parallel([&] { all.work(2); }, [&] { all.put(0); }, [&] { all.put(1); });
}

void one_rings_twice() {
  system<word> all;
  parallel([&] { all.work(2); }, [&] { all.put(0), all.put(1); });
}

template <class Word = word>
void something_else_wakes() {
  system<Word> all;
  parallel([&] { all.work(2); }, [&] { all.put(0), all.put(1); }, [&] { all.complete(); });
}

const std::vector<scenario> scenarios{
    {"one rings", one_rings<>, 4},
    {"two ring", two_ring<>, 4},
    {"one rings twice", one_rings_twice, 4},
    {"something else wakes", something_else_wakes<>, 4},
};

TEST(doorbell_word, no_ring_is_lost) { expect_holds_with_the_weakest_orders(scenarios, {"io/src/doorbell_word"}); }

TEST(doorbell_word, no_ring_is_lost_by_a_machine_that_loads_late) {
  for (const scenario& s : scenarios) expect_holds({s.name, s.body, s.preemptions - 1}, {.load_buffering = true});
}

TEST(doorbell_word, every_step_is_needed) {
  expect_caught([] { one_rings<sleeps_without_a_look>(); }, "deadlock");
  expect_caught([] { two_ring<stores_what_it_takes_back>(); }, "deadlock");
  expect_caught([] { something_else_wakes<stores_at_the_end>(); }, "deadlock");
  expect_caught([] { one_rings<wakes_nobody>(); }, "deadlock");
}

}  // namespace
