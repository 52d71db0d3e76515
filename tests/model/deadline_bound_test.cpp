// deadline_bound.hpp: the owner of a timer wheel overlooks no timer, whoever else fires. And the steps of timer_wheel.hpp: a timer that
// fires touches nothing of a waiter that runs on. What is under the wheel's lock is a list here. No orders are weakened: the bound is
// relaxed as it is, and those of the wait are park_word_test's.
#include "deadline_bound.hpp"

#include "litmus.hpp"
#include "park_word.hpp"

namespace {

using namespace model;
using aramid::wake_reason;
using bound = aramid::detail::deadline_bound<atomics>;

/// What a broken twin does otherwise.
struct twin {
  bool touches_before_claim = true;  // step 2 of timer_wheel.hpp
  bool loser_disarms = true;         // step 3
  bool bound_under_lock = true;      // step 2 of deadline_bound.hpp
};

struct waiter {
  aramid::detail::park_word<atomics> word;
  model::event ready;  // a scheduler's queue

  // waiter::resume
  void resume() { ready.signal(); }
};

struct entry {
  model::plain<std::int64_t> deadline;
  waiter* who;
  std::uint64_t epoch;
  model::plain<bool> armed{false};
};

/// timer_wheel.cpp with a list of two for a wheel.
class wheel {
public:
  explicit wheel(twin which) : twin_(which) {}

  void arm(entry& armed) {
    lock_.lock();
    armed.armed.write(true);
    list_[list_[0].read() == nullptr ? 0 : 1].write(&armed);
    earliest_.lower_to(armed.deadline.read());
    lock_.unlock();
  }

  void disarm(entry& disarmed) {
    lock_.lock();
    if (disarmed.armed.read()) take_out(disarmed);
    lock_.unlock();
  }

  void fire(std::int64_t now) {
    waiter* woken[2] = {};
    std::int64_t left = bound::none;
    lock_.lock();
    for (int i = 0; i != 2; ++i) {
      entry* const each = list_[i].read();
      if (each == nullptr) continue;
      if (each->deadline.read() > now) {
        left = std::min(left, each->deadline.read());
        continue;
      }
      waiter& who = *each->who;
      if (twin_.touches_before_claim) take_out(*each);
      if (who.word.claim(each->epoch, wake_reason::timed_out) && who.word.deliver()) woken[i] = &who;
      if (!twin_.touches_before_claim) take_out(*each);
    }
    if (twin_.bound_under_lock) earliest_.set(left);
    lock_.unlock();
    if (!twin_.bound_under_lock) earliest_.set(left);
    for (waiter* const each : woken)
      if (each != nullptr) each->resume();
  }

  [[nodiscard]] bool due(std::int64_t now) const { return now >= earliest_.get(); }

  /// waiter::suspend. The entry lies in its frame, which is gone when it returns.
  wake_reason suspend(waiter& self, std::uint64_t epoch, std::int64_t deadline) {
    auto* const timer = new entry{deadline, &self, epoch};
    arm(*timer);
    if (self.word.commit() == aramid::detail::park_word<atomics>::committed::parked) self.ready.wait();
    const wake_reason reason = self.word.reason();
    if (reason != wake_reason::timed_out && twin_.loser_disarms) disarm(*timer);
    delete timer;
    return reason;
  }

private:
  void take_out(entry& of) {
    for (auto& each : list_)
      if (each.read() == &of) each.write(nullptr);
    of.armed.write(false);
  }

  const twin twin_;
  model::mutex lock_;
  model::plain<entry*> list_[2];
  bound earliest_;
};

void notify(waiter& who, std::uint64_t epoch) {
  if (who.word.claim(epoch, wake_reason::notified) && who.word.deliver()) who.resume();
}

// A wait with a deadline; a peer fires, somebody wakes.
void fire_against_wake(twin which) {
  wheel w(which);
  waiter self;
  const std::uint64_t epoch = self.word.begin(false);
  parallel([&] { w.suspend(self, epoch, 5); }, [&] { w.fire(10); }, [&] { notify(self, epoch); });
  w.fire(10);  // what is left in the wheel?
}

// Two that fire, and what lies beside it in the wheel.
void two_that_fire(twin which) {
  wheel w(which);
  waiter self, other;
  const std::uint64_t first = self.word.begin(false), second = other.word.begin(false);
  wake_reason reason{};
  entry beside{20, &other, second};
  w.arm(beside);
  parallel([&] { reason = w.suspend(self, first, 5); }, [&] { w.fire(10); },
           [&] {
             if (w.due(10)) w.fire(10);
             notify(self, first);
           });
  MODEL_ASSERT(beside.armed.read());
  MODEL_ASSERT(w.due(20));
}

// The owner arms and then looks, as it does before it sleeps, while a peer fires what was there before.
void look_against_fire(twin which) {
  wheel w(which);
  waiter earlier, self;
  entry before{3, &earlier, earlier.word.begin(false)};
  entry timer{5, &self, self.word.begin(false)};
  w.arm(before);
  parallel(
      [&] {
        w.arm(timer);
        if (w.due(7)) w.fire(7);
        w.disarm(before);  // for its lock
        MODEL_ASSERT(!timer.armed.read());
      },
      [&] { w.fire(4); });
}

const std::vector<scenario> scenarios{
    {"fire against wake", [] { fire_against_wake({}); }, 3},
    {"two that fire", [] { two_that_fire({}); }, 2},
    {"look against fire", [] { look_against_fire({}); }, 5},
};

TEST(deadline_bound, no_timer_is_overlooked_and_no_frame_touched) {
  for (const scenario& s : scenarios) expect_holds(s);
}

TEST(deadline_bound, is_written_under_the_lock) {
  expect_caught([] { look_against_fire({.bound_under_lock = false}); }, "assertion");
}

TEST(deadline_bound, a_timer_is_done_with_its_entry_before_it_claims) {
  expect_caught([] { fire_against_wake({.touches_before_claim = false}); });
}

TEST(deadline_bound, a_waiter_that_the_timer_has_not_won_disarms_it) {
  expect_caught([] { fire_against_wake({.loser_disarms = false}); });
}

}  // namespace
