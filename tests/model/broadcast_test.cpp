// detail/broadcast.hpp, and event, latch and promise on it: all who wait go on and see what was done before, whoever goes on may destroy
// the object at once, and who has left is not touched.
#include <aramid/detail/broadcast.hpp>

#include <aramid/event.hpp>
#include <aramid/latch.hpp>
#include <aramid/promise.hpp>

#include <memory>

#include "modelled_product.hpp"

namespace {

using namespace model;

template <class Event>
void wait_whatever_comes(Event& which) {
  if (which.wait_for(some_time)) return;
  if (unless_cancelled([&] { which.wait(); })) return;
  which.wait();
}

// One of the two gives up, and comes again.
void two_wait() {
  aramid::event ready;
  model::plain<int> made{0};
  together(
      [&] {
        made.write(1);
        ready.set();
      },
      [&] {
        ready.wait();
        MODEL_ASSERT(made.read() == 1);
      },
      [&] {
        wait_whatever_comes(ready);
        MODEL_ASSERT(made.read() == 1);
      });
}

// Who has been woken is not held up by a `clear`, and who was cancelled is not woken.
void set_and_clear() {
  aramid::event ready;
  model::plain<int> made{0};
  bool cancelled = false;
  together(
      [&] {
        made.write(1);
        ready.set();
        ready.clear();
        ready.set();
      },
      [&] {
        cancelled = !unless_cancelled([&] { ready.wait(); });
        if (!cancelled) MODEL_ASSERT(made.read() == 1);
      },
      [&] {
        ready.wait();
        MODEL_ASSERT(made.read() == 1);
      });
  MODEL_ASSERT(ready.is_set());
}

template <class Event = aramid::event>
void the_waiter_destroys() {
  auto* const ready = new Event;
  model::plain<int> made{0};
  together(
      [&] {
        made.write(1);
        ready->set();
      },
      [&] {
        ready->wait();
        MODEL_ASSERT(made.read() == 1);
        delete ready;
      });
}

template <class Event = aramid::event>
void the_waiter_gives_up_and_destroys() {
  auto* const ready = new Event;
  together([&] { ready->set(); },
           [&] {
             if (!ready->wait_for(some_time)) ready->wait();
             delete ready;
           });
}

void two_count_down() {
  auto* const all = new aramid::latch(2);
  model::plain<int> first{0};
  model::plain<int> second{0};
  together(
      [&] {
        first.write(1);
        all->count_down();
      },
      [&] {
        second.write(1);
        all->count_down();
      },
      [&] {
        wait_whatever_comes(*all);
        MODEL_ASSERT(first.read() == 1 && second.read() == 1);
        delete all;
      });
}

// A cancelled wait does not take the arrival back.
void two_arrive() {
  aramid::latch all(2);
  model::plain<int> first{0};
  model::plain<int> second{0};
  together(
      [&] {
        first.write(1);
        if (!unless_cancelled([&] { all.arrive_and_wait(); })) all.wait();
        MODEL_ASSERT(second.read() == 1);
      },
      [&] {
        second.write(1);
        all.arrive_and_wait();
        MODEL_ASSERT(first.read() == 1);
      });
}

// The latch's waiter comes when it is at zero, or nearly.
void one_looks() {
  aramid::latch all(2);
  model::plain<int> first{0};
  model::plain<int> second{0};
  together(
      [&] {
        first.write(1);
        all.count_down();
      },
      [&] {
        second.write(1);
        all.count_down();
        if (all.try_wait()) MODEL_ASSERT(first.read() == 1);
      });
  MODEL_ASSERT(all.try_wait());
}

void keep_against_get() {
  auto* const answer = new aramid::detail::promised<item>;
  together([&] { answer->keep([] { return item(42); }); },
           [&] {
             if (!answer->wait(aramid::time_point(some_time)) && !unless_cancelled([&] { answer->wait(aramid::time_point::max()); }))
               answer->wait(aramid::time_point::max());
             MODEL_ASSERT(answer->outcome().take().value() == 42);
             delete answer;
           });
}

// What fails to make a value leaves the turn to somebody else, and all that it wrote behind it.
void one_cannot_keep() {
  aramid::detail::promised<item> answer;
  model::plain<int> tries{0};
  bool failed = false;
  together(
      [&] {
        try {
          answer.keep([&]() -> item {
            tries.write(tries.read() + 1);
            throw 1;
          });
        } catch (int) {
          failed = true;
        } catch (const aramid::future_error&) {
          failed = false;
        }
        answer.wait(aramid::time_point::max());
        MODEL_ASSERT(answer.outcome().look().value() == 42);
        MODEL_ASSERT(tries.read() == (failed ? 2 : 1));
      },
      [&] {
        const auto keep = [&] {
          try {
            answer.keep([&] {
              tries.write(tries.read() + 1);
              return item(42);
            });
          } catch (const aramid::future_error&) {
            return false;
          }
          return true;
        };
        while (!keep()) atomics::pause();
      });
}

enum class without {
  nothing,
  the_lock,         // the state changes before it is taken
  the_second_look,  // a waiter queues whatever has come meanwhile
  the_withdrawal,   // one that gives up leaves its node behind
};

/// An event from the steps of detail/broadcast.hpp, without one of them. Its nodes are on the heap, whose memory stays when they are gone.
template <without What>
class event_without {
public:
  void set() {
    const auto change = [this] {
      set_.store(true, release);
      return true;
    };
    if constexpr (What == without::the_lock) {
      change();
      waiters_.change_state([] { return true; });
    } else {
      waiters_.change_state(change);
    }
  }
  void wait() { (void)wait_until(aramid::time_point::max()); }
  template <class Timeout>
  bool wait_for(Timeout) {
    return wait_until(aramid::time_point(some_time));
  }

private:
  bool wait_until(aramid::time_point deadline) {
    if (set_.load(acquire)) {
      waiters_.let_go();
      return true;
    }
    aramid::parker wait;
    const auto me = std::make_unique<aramid::detail::wait_node>();
    me->token = wait.token();
    const auto has_come = [this] { return What != without::the_second_look && set_.load(relaxed); };
    if (!waiters_.queue_unless(has_come, *me)) return true;
    if (wait.park_until(deadline) == aramid::wake_reason::notified) return true;
    if (What != without::the_withdrawal) waiters_.withdraw(*me);
    return false;
  }

  model::atomic<bool> set_{false};
  aramid::detail::broadcast waiters_;
};

const std::vector<scenario> scenarios{
    {"the waiter destroys", &the_waiter_destroys<>, 5},
    {"the waiter gives up and destroys", &the_waiter_gives_up_and_destroys<>, 5},
    {"keep against get", &keep_against_get, 5},
    {"one cannot keep", &one_cannot_keep, 4},
    {"two arrive", &two_arrive, 4},
    {"one looks", &one_looks, 5},
    {"two count down", &two_count_down, 2},
    {"two wait", &two_wait, 3},
    {"set and clear", &set_and_clear, 3},
};

TEST(broadcast, all_who_wait_go_on_and_may_destroy) {
  expect_holds_with_the_weakest_orders(scenarios, {"aramid/event.hpp", "latch", "aramid/promise.hpp", "spin_lock"});
}

TEST(broadcast, who_saw_the_state_must_wait_for_the_lock) {
  expect_twin_caught(twin::sees_no_lock, &the_waiter_destroys<>, "destruction");
}

TEST(broadcast, every_step_is_needed) {
  expect_holds({"by steps", &the_waiter_gives_up_and_destroys<event_without<without::nothing>>, 3});
  expect_caught(&the_waiter_destroys<event_without<without::the_lock>>, "destruction");
  expect_caught(&the_waiter_destroys<event_without<without::the_second_look>>, "deadlock");
  expect_caught(&the_waiter_gives_up_and_destroys<event_without<without::the_withdrawal>>, "use after free");
}

}  // namespace
