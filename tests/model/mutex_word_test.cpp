// mutex_word.hpp: one owner at a time, no wake lost to barging or to a waiter that leaves, a hand-over when patience ends, and
// nothing touched after the last owner.
#include <aramid/detail/mutex_word.hpp>

#include "litmus.hpp"
#include "torn_atomics.hpp"

namespace {

using namespace model;

constexpr int threads = 3;
constexpr int waits = 4;  // of one thread, in one scenario

/// What runtime/src/mutex.cpp does, with a queue of numbers and a claim that is one exchange.
template <class Atomics, int Patience>
class modelled_mutex {
public:
  /// The broken twin lets go at once when it finds that those who waited have left.
  explicit modelled_mutex(bool forgetful = false) : forgetful_(forgetful) {}

  /// Returns false if the wait was cancelled.
  bool lock(int me) {
    if (word_.lock_free()) return true;
    bool competed = false;
    for (int losses = 0;; ++losses) {
      if (word_.lock_unless_held(competed)) return true;
      const int node = me * waits + losses;
      MODEL_ASSERT(losses < waits);
      queue_lock_.lock();
      const bool got = word_.lock_or_wait(competed);
      if (!got) push(node, losses, competed);
      queue_lock_.unlock();
      if (got) return true;
      nodes_[node].woken.wait();
      if (nodes_[node].cancelled.read()) {
        queue_lock_.lock();
        remove(node);
        if (size_.read() == 0) word_.nobody_waits();
        queue_lock_.unlock();
        return false;
      }
      if (nodes_[node].is_owner.read()) return true;
      competed = true;
    }
  }

  void unlock() {
    std::uint32_t state = 0;
    if (word_.unlock_free(state)) return;
    int next = -1;
    bool hand_over = false;
    while (next < 0) {
      if (word_.unlock_unless_waiting(state)) return;
      queue_lock_.lock();
      while (next < 0 && size_.read() != 0) {
        const int first = queue_[0].read();
        remove(first);
        if (!nodes_[first].claimed.exchange(true, acq_rel)) next = first;
      }
      if (next < 0) {
        state = word_.nobody_waits();
      } else {
        hand_over = nodes_[next].losses.read() >= Patience;
        word_.settle(size_.read() != 0, !hand_over);
      }
      queue_lock_.unlock();
      if (next < 0 && forgetful_) return word_.let_go();
    }
    if (hand_over)
      nodes_[next].is_owner.write(true);
    else
      word_.let_go();
    nodes_[next].woken.signal();
  }

  /// Ends the first wait of `who`, if it can still be won.
  void cancel(int who) {
    waiter& victim = nodes_[who * waits];
    if (victim.claimed.exchange(true, acq_rel)) return;
    victim.cancelled.write(true);
    victim.woken.signal();
  }

private:
  const bool forgetful_;

  struct waiter {
    model::atomic<bool> claimed{false};
    model::plain<int> losses{0};
    model::plain<bool> is_owner{false};
    model::plain<bool> cancelled{false};
    model::event woken;
  };

  void push(int which, int losses, bool in_front) {
    nodes_[which].losses.write(losses);
    const int size = size_.read();
    if (in_front) {
      for (int i = size; i > 0; --i) queue_[i].write(queue_[i - 1].read());
    }
    queue_[in_front ? 0 : size].write(which);
    size_.write(size + 1);
  }

  void remove(int which) {
    const int size = size_.read();
    int kept = 0;
    for (int i = 0; i < size; ++i) {
      const int other = queue_[i].read();
      if (other != which) queue_[kept++].write(other);
    }
    size_.write(kept);
  }

  aramid::detail::mutex_word<Atomics> word_;
  model::mutex queue_lock_;
  model::plain<int> size_{0};
  model::plain<int> queue_[threads];
  waiter nodes_[threads * waits];
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
  for (const scenario& s : scenarios) expect_holds(s);
}

TEST(mutex_word, every_weakened_order_is_caught) {
  if (!thorough) GTEST_SKIP() << "asks about memory orders only";
  const weakening_report report = weaken_each({}, "detail/mutex_word", scenarios);
  EXPECT_EQ(report.sound, "");
  EXPECT_GE(report.caught(), 4U) << report.text();
  EXPECT_EQ(report.survivors(), std::vector<std::string>{}) << report.text();
  RecordProperty("weakenings", report.text());
}

TEST(mutex_word, an_owner_that_finds_the_queue_empty_must_look_again) {
  expect_caught([] { one_leaves(true); }, "deadlock");
}

TEST(mutex_word, its_moves_must_be_one_step) {
  expect_caught(&two_enter<torn_atomics<torn::strong>>);
  expect_caught(&three_enter<torn_atomics<torn::weak>>);
}

}  // namespace
