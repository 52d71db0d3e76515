// mutex_word.hpp: one owner at a time, no wake lost to barging or to a waiter that leaves, a hand-over when patience ends, and
// nothing touched after the last owner.
#include <aramid/detail/mutex_word.hpp>

#include "litmus.hpp"
#include "modelled_waiters.hpp"
#include "torn_atomics.hpp"

namespace {

using namespace model;

constexpr int threads = 3;
constexpr int waits = 4;  // of one thread, in one scenario

/// What runtime/src/mutex.cpp does.
template <class Atomics, int Patience>
class modelled_mutex {
public:
  /// The broken twin lets go at once when it finds that those who waited have left.
  explicit modelled_mutex(bool forgetful = false) : forgetful_(forgetful) {}

  /// Returns false if the wait was cancelled.
  bool lock(int me) {
    return word_.lock_free() ||
           waiters_.take_or_park(
               me, [&](bool competed) { return word_.take(competed); },
               [&](bool competed) { return word_.take_or_wait(competed); },
               [&] {
                 if (waiters_.empty()) word_.nobody_waits();
                 waiters_.lock.unlock();
               });
  }

  void unlock() {
    std::uint32_t state = 0;
    if (word_.unlock_free(state)) return;
    int next = -1;
    bool hand_over = false;
    while (next < 0) {
      if (word_.unlock_unless_waiting(state)) return;
      waiters_.lock.lock();
      next = waiters_.claim_front();
      if (next < 0) {
        state = word_.nobody_waits();
      } else {
        hand_over = waiters_.lost_too_often(next);
        word_.settle(!waiters_.empty(), !hand_over);
      }
      waiters_.lock.unlock();
      if (next < 0 && forgetful_) return word_.let_go();
    }
    if (hand_over)
      waiters_[next].is_served.write(true);
    else
      word_.let_go();
    waiters_.deliver(next);
  }

  void cancel(int who) { waiters_.cancel(who); }

private:
  const bool forgetful_;
  aramid::detail::mutex_word<Atomics> word_;
  modelled_waiters<threads, waits, Patience> waiters_;
};

// Counts under the lock. The count is no atomic: the lock has to order it.
template <class Atomics, int Patience = 1>
struct counted_lock {
  explicit counted_lock(bool forgetful = false) : lock(forgetful) {}

  modelled_mutex<Atomics, Patience> lock;
  model::plain<int> count{0};

  void enter(int me) {
    if (lock.lock(me)) leave();
  }
  void leave() {
    count.write(count.read() + 1);
    lock.unlock();
  }
};

template <class Atomics = atomics>
void two_enter() {
  counted_lock<Atomics> all;
  parallel([&] { all.enter(0); }, [&] { all.enter(1); });
  MODEL_ASSERT(all.count.read() == 2);
}

template <class Atomics = atomics>
void three_enter() {
  counted_lock<Atomics> all;
  parallel([&] { all.enter(0); }, [&] { all.enter(1); }, [&] { all.enter(2); });
  MODEL_ASSERT(all.count.read() == 3);
}

// One that comes back at once: the other loses to it, and is handed the lock the second time.
template <int Patience>
void one_comes_back() {
  counted_lock<atomics, Patience> all;
  parallel(
      [&] {
        all.enter(0);
        all.enter(0);
        all.enter(0);
      },
      [&] { all.enter(1); });
  MODEL_ASSERT(all.count.read() == 4);
}

// A waiter is cancelled while the owner leaves and another waits.
void one_leaves(bool forgetful) {
  counted_lock<atomics> all(forgetful);
  model::plain<bool> got{false};
  parallel([&] { all.enter(0); },
           [&] {
             if (!all.lock.lock(1)) return;
             got.write(true);
             all.leave();
           },
           [&] {
             all.lock.cancel(1);
             all.enter(2);
           });
  MODEL_ASSERT(all.count.read() == (got.read() ? 3 : 2));
}

// Whoever is last destroys it.
void the_last_destroys() {
  struct shared {
    modelled_mutex<atomics, 1> lock;
    model::plain<int> users{2};
  };
  auto* const object = new shared;
  const auto use = [&](int me) {
    object->lock.lock(me);
    const int left = object->users.read() - 1;
    object->users.write(left);
    object->lock.unlock();
    if (left == 0) delete object;
  };
  parallel([&] { use(0); }, [&] { use(1); });
}

const std::vector<scenario> scenarios{
    {"two enter", &two_enter<>, 4},
    {"one comes back, patient", &one_comes_back<3>, 3},
    {"one comes back, handed over", &one_comes_back<1>, 3},
    {"the last destroys", &the_last_destroys, 3},
    {"one leaves", [] { one_leaves(false); }, 2},
    {"three enter", &three_enter<>, 2},
};

TEST(mutex_word, one_owner_at_a_time_and_no_wake_lost) {
  expect_holds_with_the_weakest_orders(scenarios, {"detail/mutex_word"}, {}, {}, 4);
}

TEST(mutex_word, an_owner_that_finds_the_queue_empty_must_look_again) {
  expect_caught([] { one_leaves(true); }, "deadlock");
}

TEST(mutex_word, its_moves_must_be_one_step) {
  expect_caught(&two_enter<torn_atomics<torn::strong>>);
  expect_caught(&three_enter<torn_atomics<torn::weak>>);
}

}  // namespace
