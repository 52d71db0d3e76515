// idle_set.hpp: no wake is lost, no worker is woken twice for one parking, and no work waits while a worker sleeps. The work comes
// through the product's injection queue.
#include "idle_set.hpp"

#include "injection_queue.hpp"
#include "litmus.hpp"

namespace {

using namespace model;

using idle_set = aramid::detail::idle_set<atomics, model::mutex, 3>;

/// Steps of the protocol that a broken twin leaves out; a worker is what worker.cpp makes of the protocol.
struct twin {
  bool looks_again = true;        // W4
  bool wakes_the_next = true;     // W2
  bool producer_wakes = true;     // P3, P4
  bool searches_after_w4 = true;  // see the last test
  bool watchdog_wakes_spare = true;
};

struct item {
  item* next = nullptr;  // under the queue's lock
  int index = 0;
};

/// Workers that go on for ever: an execution passes when the last item has been run; one that ends with everybody asleep
/// is a deadlock.
class system {
public:
  system(unsigned workers, twin which) : system(workers, workers, which) {}
  system(unsigned workers, unsigned at_once, twin which) : idle_(workers, at_once), twin_(which) {
    items_[1].index = 1;
  }

  /// Any thread that makes a fiber runnable.
  void produce() {
    injection_.push(items_[produced_.fetch_add(1, relaxed)]);  // P1
    if (twin_.producer_wakes) wake_one();
  }

  /// The watchdog, having found that a worker is stuck.
  void take_its_place() {
    signal(twin_.watchdog_wakes_spare ? idle_.wake_spare() : idle_.wake_one());
  }

  template <class Run>
  void work(unsigned self, Run run) {
    bool searching = false;
    for (;;) {
      if (!searching) searching = idle_.begin_search();  // W1
      if (const item* const found = injection_.pop()) {
        if (std::exchange(searching, false) && idle_.end_search() && twin_.wakes_the_next)
          wake_one();  // W2
        finish(*found, run);
        continue;
      }
      idle_.park(self, std::exchange(searching, false));  // W3
      const bool sleeps = !twin_.looks_again || injection_.empty() || !idle_.may_search();
      if (sleeps) drivers_[self].wait();     // W5
      searching = !idle_.unpark_self(self);  // W4, W6
      if (!sleeps && !searching && !twin_.searches_after_w4) {
        // As worker.cpp: it takes what it saw, without having searched for it.
        if (const item* const found = injection_.pop()) finish(*found, run);
      }
    }
  }

private:
  template <class Run>
  void finish(const item& found, Run run) {
    run(found.index);
    if (finished_.fetch_add(1, relaxed) + 1 == items) pass();
  }

  void wake_one() { signal(idle_.wake_one()); }

  void signal(int sleeper) {
    if (sleeper != idle_set::none) drivers_[static_cast<std::size_t>(sleeper)].signal();
  }

  idle_set idle_;
  aramid::detail::injection_queue<item, atomics, model::mutex> injection_;
  std::array<model::event, 3> drivers_;  // sticky, as every driver's wake
  static constexpr int items = 2;
  std::array<item, items> items_;
  model::atomic<unsigned> produced_{0};
  model::atomic<int> finished_{0};
  twin twin_;
};

// One worker, two producers.
void two_producers(twin which) {
  system s(1, which);
  parallel([&] { s.work(0, [](int) {}); }, [&] { s.produce(); }, [&] { s.produce(); });
}

// Two workers, one producer of two items.
void two_workers(twin which) {
  system s(2, which);
  parallel([&] { s.work(0, [](int) {}); }, [&] { s.work(1, [](int) {}); },
           [&] {
             s.produce();
             s.produce();
           });
}

// The first item makes another and then keeps its worker until that has run: a second worker has to.
void work_that_waits_for_work(twin which) {
  system s(2, which);
  model::event second_ran;
  const auto run = [&](int item) {
    if (item == 0) {
      s.produce();
      second_ran.wait();
    } else {
      second_ran.signal();
    }
  };
  parallel([&] { s.work(0, run); }, [&] { s.work(1, run); }, [&] { s.produce(); });
}

// The same, but both come from outside.
void work_that_waits_for_work_from_outside(twin which, int producers) {
  system s(2, which);
  model::event second_ran;
  const auto run = [&](int item) {
    if (item == 0)
      second_ran.wait();
    else
      second_ran.signal();
  };
  const auto worker = [&](unsigned self) { return [&s, &run, self] { s.work(self, run); }; };
  if (producers == 2)
    parallel(
        worker(0), worker(1), [&] { s.produce(); }, [&] { s.produce(); });
  else
    parallel(worker(0), worker(1), [&] { s.produce(), s.produce(); });
}

// Two workers of which one can run: the other is spare.
void one_spare(twin which) {
  system s(2, 1, which);
  parallel([&] { s.work(0, [](int) {}); }, [&] { s.work(1, [](int) {}); },
           [&] {
             s.produce();
             s.produce();
           });
}

// The first item keeps its worker until the second has run; the watchdog sees that.
void one_spare_and_one_stuck(twin which) {
  system s(2, 1, which);
  model::event stuck;
  model::event second_ran;
  const auto run = [&](int item) {
    if (item == 0) {
      stuck.signal();
      second_ran.wait();
    } else {
      second_ran.signal();
    }
  };
  parallel([&] { s.work(0, run); }, [&] { s.work(1, run); },
           [&] {
             s.produce();
             s.produce();
             stuck.wait();
             s.take_its_place();
           });
}

TEST(idle_set, spare_workers_stay_parked_until_one_is_stuck) {
  expect_holds({"one spare", [] { one_spare({}); }, 2});
  expect_holds({"one spare and one stuck", [] { one_spare_and_one_stuck({}); }, 1});
  expect_caught([] { one_spare_and_one_stuck({.watchdog_wakes_spare = false}); }, "deadlock");
}

TEST(idle_set, no_wake_is_lost) {
  expect_holds({"two producers", [] { two_producers({}); }, 3});
  expect_holds({"two workers", [] { two_workers({}); }, 2});
}

TEST(idle_set, no_work_waits_while_a_worker_sleeps) {
  expect_holds({"work that waits for work", [] { work_that_waits_for_work({}); }, 2});
  expect_holds({"from two producers", [] { work_that_waits_for_work_from_outside({}, 2); }, 1});
  expect_holds({"from one producer", [] { work_that_waits_for_work_from_outside({}, 1); }, 2});
}

TEST(idle_set, every_weakened_order_is_caught) {
  expect_holds_with_the_weakest_orders(
      {
          {"two producers", [] { two_producers({}); }, 2},
          {"work that waits for work", [] { work_that_waits_for_work({}); }, 1},
          {"from one producer", [] { work_that_waits_for_work_from_outside({}, 1); }, 1},
      },
      {"runtime/src"},
      {
          // The fences and the lock order everything; the counts only have to be atomic. (An acq_rel read-modify-write
          // costs the same on x86 and AArch64.)
          "end_search: rmw(seq_cst) -> acq_rel",
          "add: rmw(seq_cst) -> acq_rel",
      });
}

TEST(idle_set, every_step_is_needed) {
  expect_caught([] { two_producers({.looks_again = false}); }, "deadlock");
  expect_caught([] { two_producers({.producer_wakes = false}); }, "deadlock");
  expect_caught([] { work_that_waits_for_work_from_outside({.wakes_the_next = false}, 2); },
                "deadlock");
}

// A worker whose W4 finds work must search for it, not merely take it: two producers that both saw it searching have left
// their wakes to it, and if it takes one item and keeps at it, nobody wakes a sleeper for the other. (Go's scheduler spins
// again here for the same reason: `becomeSpinning` in findRunnable.)
TEST(idle_set, work_found_at_the_last_look_has_to_be_searched_for) {
  expect_caught([] { work_that_waits_for_work_from_outside({.searches_after_w4 = false}, 2); },
                "deadlock");
}

}  // namespace
