// semaphore_word.hpp: no more in than there are permits, no permit lost to barging or to a waiter that leaves, and nothing
// touched after the last permit has been given.
#include <aramid/detail/semaphore_word.hpp>

#include "litmus.hpp"
#include "modelled_waiters.hpp"
#include "torn_atomics.hpp"

namespace {

using namespace model;

constexpr int threads = 3;
constexpr int waits = 4;  // of one thread, in one scenario

/// What runtime/src/semaphore.cpp does.
template <class Atomics, int Patience>
class modelled_semaphore {
public:
  /// The broken twin does not look again for waiters once it has woken as many as there were.
  explicit modelled_semaphore(int permits, bool forgetful = false) : word_(permits), forgetful_(forgetful) {}

  /// Returns false if the wait was cancelled.
  bool acquire(int me) {
    return waiters_.take_or_park(
        me, [&](bool competed) { return word_.take(competed); },
        [&](bool competed) { return word_.take_or_wait(competed); },
        [&] {
          if (waiters_.empty()) word_.nobody_waits();
          waiters_.lock.unlock();
        });
  }

  void release(std::uint64_t permits = 1) {
    if (word_.give(permits, 0)) return;
    int claimed[threads];
    int count = 0;
    std::uint64_t competitors = 0;
    do {
      waiters_.lock.lock();
      while (permits != competitors) {
        const int next = waiters_.claim_front();
        if (next < 0) {
          word_.nobody_waits();
          break;
        }
        claimed[count++] = next;
        if (waiters_.lost_too_often(next)) {
          waiters_[next].is_served.write(true);
          --permits;
        } else {
          ++competitors;
        }
      }
      waiters_.lock.unlock();
      // As if nobody could have queued since.
      if (forgetful_) {
        while (!word_.give(permits, competitors)) word_.nobody_waits();
        break;
      }
    } while (!word_.give(permits, competitors));
    for (int i = 0; i < count; ++i) waiters_.deliver(claimed[i]);
  }

  void cancel(int who) { waiters_.cancel(who); }
  [[nodiscard]] int permits() const { return static_cast<int>(word_.permits()); }

private:
  aramid::detail::semaphore_word<Atomics> word_;
  const bool forgetful_;
  modelled_waiters<threads, waits, Patience> waiters_;
};

// As a lock. The count is no atomic: the permit has to order it.
template <class Atomics, int Patience>
struct counted {
  explicit counted(bool forgetful = false) : permit(1, forgetful) {}

  modelled_semaphore<Atomics, Patience> permit;
  model::plain<int> count{0};

  void enter(int me) {
    if (!permit.acquire(me)) return;
    count.write(count.read() + 1);
    permit.release();
  }
};

template <class Atomics = atomics>
void two_enter() {
  counted<Atomics, 1> all;
  parallel([&] { all.enter(0); }, [&] { all.enter(1); });
  MODEL_ASSERT(all.count.read() == 2);
  MODEL_ASSERT(all.permit.permits() == 1);
}

template <class Atomics = atomics>
void three_enter() {
  counted<Atomics, 1> all;
  parallel([&] { all.enter(0); }, [&] { all.enter(1); }, [&] { all.enter(2); });
  MODEL_ASSERT(all.count.read() == 3);
}

template <int Patience>
void one_comes_back() {
  counted<atomics, Patience> all;
  parallel(
      [&] {
        all.enter(0);
        all.enter(0);
        all.enter(0);
      },
      [&] { all.enter(1); });
  MODEL_ASSERT(all.count.read() == 4);
}

// Two wait, or come, while two permits are given at once: both get one, and nobody sleeps beside a permit.
void two_for_two(bool forgetful) {
  modelled_semaphore<atomics, 2> permits(0, forgetful);
  model::plain<int> given{0};
  parallel([&] { MODEL_ASSERT(permits.acquire(0) && given.read() == 1); },
           [&] { MODEL_ASSERT(permits.acquire(1) && given.read() == 1); },
           [&] {
             given.write(1);
             permits.release(2);
           });
  MODEL_ASSERT(permits.permits() == 0);
}

// One gives two by and by, and a third comes by for one.
void one_comes_by() {
  modelled_semaphore<atomics, 1> permits(0);
  parallel([&] { MODEL_ASSERT(permits.acquire(0)); },
           [&] {
             permits.release();
             permits.release();
           },
           [&] { MODEL_ASSERT(permits.acquire(2)); });
  MODEL_ASSERT(permits.permits() == 0);
}

// A waiter is cancelled while permits are given; the other gets one, and what is left is there.
void one_leaves() {
  modelled_semaphore<atomics, 1> permits(0);
  model::plain<int> got{0};
  parallel(
      [&] { got.write(permits.acquire(0) ? 1 : 0); }, [&] { MODEL_ASSERT(permits.acquire(1)); },
      [&] {
        permits.release();
        permits.cancel(0);
        permits.release();
      });
  MODEL_ASSERT(permits.permits() == 1 - got.read());
}

// Whoever is last destroys it.
void the_last_destroys() {
  auto* const permits = new modelled_semaphore<atomics, 1>(0);
  parallel([&] { permits->release(); },
           [&] {
             MODEL_ASSERT(permits->acquire(1));
             delete permits;
           });
}

const std::vector<scenario> scenarios{
    {"two enter", &two_enter<>, 4},
    {"one comes back, patient", &one_comes_back<3>, 3},
    {"one comes back, handed over", &one_comes_back<1>, 3},
    {"the last destroys", &the_last_destroys, 4},
    {"two for two", [] { two_for_two(false); }, 3},
    {"one comes by", &one_comes_by, 3},
    {"one leaves", &one_leaves, 2},
    {"three enter", &three_enter<>, 2},
};

TEST(semaphore_word, no_permit_is_lost_or_doubled) {
  expect_holds_with_the_weakest_orders(scenarios, {"detail/semaphore_word"});
}

TEST(semaphore_word, whoever_gives_must_look_for_those_that_queued_meanwhile) {
  expect_caught([] { two_for_two(true); }, "deadlock");
}

TEST(semaphore_word, its_moves_must_be_one_step) {
  expect_caught(&two_enter<torn_atomics<torn::weak>>);
}

}  // namespace
