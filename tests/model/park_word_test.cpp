// park_word.hpp: one winner for each wait, no wake lost, what was saved and handed over is seen.
#include "park_word.hpp"

#include "litmus.hpp"
#include "torn_atomics.hpp"

namespace {

using namespace model;
using aramid::wake_reason;

template <class Atomics = atomics>
using word_of = aramid::detail::park_word<Atomics>;
using committed = word_of<>::committed;

/// One wait with what travels through it. The waiter's registers are plain memory that it writes before it commits; whoever
/// makes it run again uses them.
template <class Atomics = atomics>
struct one_wait {
  word_of<Atomics> word;
  model::plain<int> registers{0};
  model::plain<int> handed_over{0};
  model::event ready;  // a scheduler's queue: make_ready, and the worker that takes it from there
  std::uint64_t epoch = 0;

  explicit one_wait(bool may_cancel = false) : epoch(word.begin(may_cancel)) {}

  /// What a fiber and the worker under it do.
  void suspend() {
    if (word.take_delivered()) return;
    registers.write(1);
    if (word.commit() == word_of<Atomics>::committed::parked) ready.wait();
  }
  /// What a thread does.
  void sleep() {
    if (word.take_delivered()) return;
    registers.write(1);
    if (word.commit() == word_of<Atomics>::committed::parked)
      for (std::uint32_t value = 0; word.must_sleep(value);)
        futex_wait(word.futex_address(), value);
  }
  bool wake(int what, wake_reason reason = wake_reason::notified) {
    if (!word.claim(epoch, reason)) return false;
    handed_over.write(what);
    if (word.deliver()) make_run();
    return true;
  }
  bool wake_thread(int what) {
    if (!word.claim(epoch, wake_reason::notified)) return false;
    handed_over.write(what);
    if (word.deliver()) futex_wake(word.futex_address(), 1);
    return true;
  }
  void make_run() {
    MODEL_ASSERT(registers.read() == 1);
    registers.write(2);
    ready.signal();
  }
};

// Two wakers, one fiber.
template <class Atomics = atomics>
void two_wakers() {
  one_wait<Atomics> wait;
  bool first = false, second = false;
  parallel(
      [&] {
        wait.suspend();
        MODEL_ASSERT(wait.handed_over.read() != 0);
        wait.handed_over.write(wait.handed_over.read() * 10);
      },
      [&] { first = wait.wake(1); }, [&] { second = wait.wake(2, wake_reason::timed_out); });
  MODEL_ASSERT(first != second);
  MODEL_ASSERT(wait.handed_over.read() == (first ? 10 : 20));
  MODEL_ASSERT(wait.word.reason() == (first ? wake_reason::notified : wake_reason::timed_out));
}

// The same for a thread, which sleeps on a futex.
void two_wakers_of_a_thread() {
  one_wait<> wait;
  bool first = false, second = false;
  parallel(
      [&] {
        wait.sleep();
        MODEL_ASSERT(wait.handed_over.read() != 0);
      },
      [&] { first = wait.wake_thread(1); }, [&] { second = wait.wake_thread(2); });
  MODEL_ASSERT(first != second);
}

// A token of the first wait is kept until the second: it must not win that.
void stale_token() {
  one_wait<> wait;
  const std::uint64_t first = wait.epoch;
  model::event waits_again;
  bool early = false, late = false, woken = false;
  const auto win_first = [&](wake_reason reason) {
    if (!wait.word.claim(first, reason)) return false;
    if (wait.word.deliver()) wait.make_run();
    return true;
  };
  parallel(
      [&] {
        wait.suspend();
        wait.epoch = wait.word.begin(false);
        waits_again.signal();
        wait.suspend();
      },
      [&] {
        early = win_first(wake_reason::notified);
        waits_again.wait();
        woken = wait.wake(2);
      },
      [&] { late = win_first(wake_reason::timed_out); });
  MODEL_ASSERT(early != late);
  MODEL_ASSERT(woken);
}

// Step 4: the canceller and the waiter, who looks at the request after its commit. Nobody else would wake it.
void cancel_against_commit() {
  one_wait<> wait;
  wait.word.abandon();
  model::atomic<bool> requested{false};
  parallel(
      [&] {
        const std::uint64_t epoch = wait.word.begin(true);
        wait.registers.write(1);
        if (wait.word.commit() != committed::parked) return;
        if (requested.load(seq_cst) && wait.word.claim(epoch, wake_reason::cancelled)) {
          if (wait.word.deliver()) return;  // it was parked by itself: it runs on
        }
        wait.ready.wait();
      },
      [&] {
        requested.store(true, seq_cst);
        if (wait.word.claim_cancellable() != 0 && wait.word.deliver()) wait.make_run();
      });
  MODEL_ASSERT(wait.word.reason() == wake_reason::cancelled);
}

// A cancellation and a wake: one of them.
void cancel_against_wake() {
  one_wait<> wait(true);
  bool cancelled = false, woken = false;
  parallel([&] { wait.suspend(); },
           [&] {
             if (wait.word.claim_cancellable() == 0) return;
             cancelled = true;
             if (wait.word.deliver()) wait.make_run();
           },
           [&] { woken = wait.wake(1); });
  MODEL_ASSERT(cancelled != woken);
  MODEL_ASSERT(wait.word.reason() == (cancelled ? wake_reason::cancelled : wake_reason::notified));
}

// A wait that is given up: either nobody wins it, or the winner is waited for.
void abandon_against_wake() {
  one_wait<> wait;
  bool woken = false, abandoned = false;
  parallel(
      [&] {
        abandoned = wait.word.abandon();
        if (!abandoned) {
          wait.suspend();
          MODEL_ASSERT(wait.handed_over.read() == 1);
        }
      },
      [&] { woken = wait.wake(1); });
  MODEL_ASSERT(abandoned != woken);
}

const std::vector<scenario> scenarios{
    {"abandon against wake", &abandon_against_wake, 5},
    {"cancel against commit", &cancel_against_commit, 5},
    {"two wakers", &two_wakers<>, 4},
    {"cancel against wake", &cancel_against_wake, 4},
    {"two wakers of a thread", &two_wakers_of_a_thread, 3},
    {"stale token", &stale_token, 2},
};

TEST(park_word, every_wait_has_one_winner_and_ends) {
  expect_holds_with_the_weakest_orders(
      scenarios, {"runtime/src"},
      {
          // What a claimer has to acquire is the saved registers, and it does when it delivers: the commit may come between.
          "claim: cas(acquire) -> relaxed",
          "claim_cancellable: cas(acquire) -> relaxed",
      });
}

TEST(park_word, claim_and_commit_must_be_one_step) {
  expect_caught(&two_wakers<torn_atomics<torn::weak>>);
  expect_caught(&two_wakers<torn_atomics<torn::strong>>);
}

// A late committer. After the commit another thread may run the fiber on, out of its cancelled scope and into its next wait,
// while the committer is still at its look at the request: then it must not cancel that next wait. It has to name the wait that
// it committed.
void late_look_after_commit(bool by_epoch) {
  one_wait<> wait(true);
  const std::uint64_t first = wait.epoch;
  model::mutex chain;
  model::plain<bool> in_scope{true};
  model::atomic<bool> requested{false};
  std::uint64_t second = 0;
  const auto go_on =
      [&] {  // the fiber, on whatever thread runs it: leaves the scope and waits again
        chain.lock();
        in_scope.write(false);
        requested.store(false, seq_cst);
        chain.unlock();
        second = wait.word.begin(true);
        MODEL_ASSERT(wait.word.commit() == committed::parked);
      };
  parallel(
      [&] {
        if (wait.word.commit() != committed::parked) return go_on();
        if (requested.load(seq_cst) &&
            (by_epoch ? wait.word.claim(first, wake_reason::cancelled)
                      : wait.word.claim_cancellable() != 0) &&
            wait.word.deliver())
          go_on();
      },
      [&] {
        if (wait.word.claim(first, wake_reason::notified) && wait.word.deliver()) go_on();
      },
      [&] {
        chain.lock();
        bool claimed = false;
        if (in_scope.read()) {
          requested.store(true, seq_cst);
          claimed = wait.word.claim_cancellable() != 0;
        }
        chain.unlock();
        if (claimed && wait.word.deliver()) go_on();
      });
  MODEL_ASSERT(wait.word.claim(second, wake_reason::notified));  // nobody had a reason to end it
}

TEST(park_word, a_late_look_after_commit_must_name_its_wait) {
  expect_holds({"late look", [] { late_look_after_commit(true); }, 3});
  expect_caught([] { late_look_after_commit(false); });
}

}  // namespace
