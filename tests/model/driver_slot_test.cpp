// driver_slot.hpp: what is pushed from outside reaches a worker that falls asleep, also while its driver is changed. With the injection
// queue of the product.
#include "driver_slot.hpp"

#include "injection_queue.hpp"
#include "litmus.hpp"

namespace {

using namespace model;

/// What a broken twin does otherwise.
struct twin {
  bool waker_notifies = true;           // N1
  bool driver_before_notified = true;   // O1, O2
  bool changer_wakes = true;            // C2
};

struct item {
  item* next = nullptr;  // under the queue's lock
  model::plain<int> content{0};
};

struct driver {
  void wake() {
    MODEL_ASSERT(complete.read());
    if (explorer::current().self() != deaf_to) called.signal();
  }
  void poll() { called.wait(); }
  model::event called;  // sticky
  model::plain<bool> complete{false};
  int deaf_to = -1;
};

/// The only worker of a runtime. An execution passes when it has run the last of so many items.
template <class Atomics = atomics>
class worker {
public:
  explicit worker(twin which) : twin_(which) {
    first_.complete.write(true);
    slot_.replace(first_);
  }

  // runtime_core::make_ready
  void push(item& pushed) {
    pushed.content.write(1);
    queue_.push(pushed);
    if (twin_.waker_notifies)
      slot_.wake();
    else
      slot_.current().wake();
  }

  // runtime_core::make_driver_for_io
  void change_driver() {
    if (!twin_.changer_wakes) first_.deaf_to = explorer::current().self();
    second_.complete.write(true);
    slot_.replace(second_);
  }

  // The looks that turn and prepare_sleep take are one here.
  void run(int items) {
    for (;;) {
      while (item* const next = queue_.pop()) {
        MODEL_ASSERT(next->content.read() == 1);
        if (--items == 0) pass();
      }
      driver* mine = slot_.prepare_sleep([] { return true; });
      if (mine != nullptr) {
        if (!twin_.driver_before_notified) mine = &slot_.current();
        mine->poll();
      }
      slot_.end_sleep();
    }
  }

private:
  const twin twin_;
  aramid::detail::injection_queue<item, model::atomics, model::mutex> queue_;
  driver first_, second_;
  aramid::detail::driver_slot<driver, Atomics> slot_;
};

// One pushes, one changes the driver. Nobody else will wake the worker.
template <class Atomics = atomics>
void push_against_change(twin which) {
  worker<Atomics> w(which);
  item only;
  parallel([&] { w.run(1); }, [&] { w.push(only); }, [&] { w.change_driver(); });
}

// The same, but the waker comes twice.
void two_pushes_against_change(twin which) {
  worker<> w(which);
  item first, second;
  parallel([&] { w.run(2); },
           [&] {
             w.push(first);
             w.push(second);
           },
           [&] { w.change_driver(); });
}

// Two wakers, no change.
void two_pushes(twin which) {
  worker<> w(which);
  item first, second;
  parallel([&] { w.run(2); }, [&] { w.push(first); }, [&] { w.push(second); });
}

const std::vector<scenario> scenarios{
    {"push against change", [] { push_against_change({}); }, 4},
    {"two pushes against change", [] { two_pushes_against_change({}); }, 3},
    {"two pushes", [] { two_pushes({}); }, 3},
};

TEST(driver_slot, no_wake_is_lost) {
  expect_holds_with_the_weakest_orders(scenarios, {"runtime/src"});
}

TEST(driver_slot, every_step_is_needed) {
  expect_caught([] { push_against_change({.waker_notifies = false}); }, "deadlock");
  expect_caught([] { push_against_change({.driver_before_notified = false}); }, "deadlock");
  expect_caught([] { push_against_change({.changer_wakes = false}); }, "deadlock");
}

}  // namespace
