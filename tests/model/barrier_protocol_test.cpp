// barrier.cpp: nobody goes on before all have come and the completion has run, a cancelled arrival is taken back unless all have come,
// and it stands where it was made apart.
#include <aramid/barrier.hpp>

#include <memory>

#include "modelled_product.hpp"

namespace {

using namespace model;

// The completions are counted in a plain cell: they have to be ordered among each other, and before whoever goes on.
struct counts_phases {
  model::plain<int>* phases;
  void operator()() const noexcept { phases->write(phases->read() + 1); }
};
using counting_barrier = aramid::barrier<counts_phases>;

void two_meet_twice() {
  model::plain<int> phases{0};
  counting_barrier all(2, counts_phases{&phases});
  model::plain<int> work[2]{0, 0};
  const auto meet = [&](int me) {
    work[me].write(1);
    all.arrive_and_wait();
    MODEL_ASSERT(phases.read() == 1);
    MODEL_ASSERT(work[1 - me].read() == 1);
    all.arrive_and_wait();
    MODEL_ASSERT(phases.read() == 2);
  };
  together([&] { meet(0); }, [&] { meet(1); });
}

/// One that may be cancelled comes again, and writes before it does: the other must not go on before that.
template <class Barrier = counting_barrier>
void one_comes_again() {
  model::plain<int> phases{0};
  Barrier all(2, counts_phases{&phases});
  model::plain<int> came{0};
  together(
      [&] {
        came.write(1);
        const bool met = unless_cancelled([&] { all.arrive_and_wait(); });
        if (!met) {
          came.write(2);
          all.arrive_and_wait();
        }
        MODEL_ASSERT(phases.read() == 1);
      },
      [&] {
        all.arrive_and_wait();
        MODEL_ASSERT(phases.read() == 1);
        MODEL_ASSERT(came.read() != 0);
      });
  MODEL_ASSERT(phases.read() == 1);
}

// Two may be cancelled; each then says that it will not come again.
template <class Barrier = counting_barrier>
void two_leave() {
  model::plain<int> phases{0};
  Barrier all(3, counts_phases{&phases});
  const auto come = [&] {
    if (!unless_cancelled([&] { all.arrive_and_wait(); })) all.arrive_and_drop();
  };
  together(come, come, [&] {
    all.arrive_and_wait();
    MODEL_ASSERT(phases.read() == 1);
  });
  MODEL_ASSERT(phases.read() == 1);
}

// An arrival apart from its wait: the phase goes on without the one who was cancelled, and the token is good for another wait.
void one_arrives_apart() {
  model::plain<int> phases{0};
  counting_barrier all(2, counts_phases{&phases});
  together(
      [&] {
        auto token = all.arrive();
        if (!unless_cancelled([&] { all.wait(std::move(token)); })) all.wait(std::move(token));
        MODEL_ASSERT(phases.read() == 1);
      },
      [&] {
        all.arrive_and_wait();
        MODEL_ASSERT(phases.read() == 1);
      });
  MODEL_ASSERT(phases.read() == 1);
}

// Whoever is last to go on destroys it; the one that arrives only must not be in it any more.
void the_waiter_destroys() {
  model::plain<int> phases{0};
  auto* const all = new counting_barrier(2, counts_phases{&phases});
  together([&] { (void)all->arrive(); },
           [&] {
             all->arrive_and_wait();
             MODEL_ASSERT(phases.read() == 1);
             delete all;
           });
}

enum class without {
  nothing,
  the_return,     // a cancelled arrival stands
  the_last_look,  // it is taken back though all have come
  the_wait,       // who comes too late to be cancelled goes on while the completion runs
};

/// arrive_and_wait and arrive_and_drop as in barrier.cpp, without one of their steps.
template <without What>
class barrier_without {
public:
  barrier_without(int expected, counts_phases completion) : expected_(expected), pending_(expected), completion_(completion) {}

  void arrive_and_wait() {
    const int phase = arrive(0);
    if (phase_.load(acquire) != phase) return waiters_.let_go();
    const auto is_over = [&] { return phase_.load(relaxed) != phase; };
    if (waiters_.wait(is_over, {}, aramid::cancellable::yes, aramid::time_point::max()) == aramid::wake_reason::notified) return;
    bool too_late = false;
    waiters_.change_state([&] {
      too_late = What != without::the_last_look && (is_over() || pending_.read() == 0);
      if (!too_late && What != without::the_return) pending_.write(pending_.read() + 1);
      return false;
    });
    if (!too_late) aramid::throw_cancelled();
    if (What != without::the_wait) waiters_.wait(is_over, {}, aramid::cancellable::no, aramid::time_point::max());
  }
  void arrive_and_drop() { arrive(1); }

private:
  int arrive(int dropped) {
    int phase = 0;
    bool is_last = false;
    waiters_.change_state([&] {
      phase = phase_.load(relaxed);
      expected_.write(expected_.read() - dropped);
      pending_.write(pending_.read() - 1);
      is_last = pending_.read() == 0;
      return false;
    });
    if (is_last) {
      completion_();
      waiters_.change_state([&] {
        pending_.write(expected_.read());
        phase_.store(phase_.load(relaxed) + 1, release);
        return true;
      });
    }
    return phase;
  }

  model::atomic<int> phase_{0};
  model::plain<int> expected_;
  model::plain<int> pending_;
  aramid::detail::broadcast waiters_;
  const counts_phases completion_;
};

const std::vector<scenario> scenarios{
    {"the waiter destroys", &the_waiter_destroys, 5},
    {"two meet twice", &two_meet_twice, 4},
    {"one comes again", &one_comes_again<>, 5},
    {"one arrives apart", &one_arrives_apart, 4},
    {"two leave", &two_leave<>, 2},
};

TEST(barrier_protocol, a_cancelled_arrival_is_taken_back_unless_all_have_come) {
  expect_holds_with_the_weakest_orders(scenarios, {"src/barrier.cpp"});
}

TEST(barrier_protocol, every_step_is_needed) {
  expect_holds({"by steps", &one_comes_again<barrier_without<without::nothing>>, 3});
  expect_caught(&one_comes_again<barrier_without<without::the_return>>, "deadlock");
  expect_caught(&one_comes_again<barrier_without<without::the_last_look>>);
  expect_caught(&one_comes_again<barrier_without<without::the_wait>>, "data race");
}

TEST(barrier_protocol, who_saw_the_phase_must_wait_for_the_lock) {
  expect_twin_caught(twin::sees_no_lock, &the_waiter_destroys, "destruction");
}

}  // namespace
