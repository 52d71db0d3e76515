// completion_word.hpp over park_word.hpp: a completion, a cancellation and the fiber that waits. Nobody waits for ever, and nobody touches the
// operation when the fiber has left it.
#include "io/src/completion_word.hpp"

#include "litmus.hpp"
#include "park_word.hpp"

namespace {

using namespace model;
using aramid::wake_reason;

/// What a broken twin does otherwise.
struct twin {
  bool claims_before_finishing = true;     // R2
  bool finishes_before_delivering = true;  // R2
  bool exchanges_what_it_lost = true;      // R3
};

/// One operation on the stack of a fiber, which leaves it when it is done.
class system {
public:
  explicit system(twin which, bool impatient = false) : twin_(which), impatient_(impatient) {}

  // perform.cpp's perform_once and take_back
  void fiber() {
    const std::uint64_t first = wait_.begin(true);
    word_.expect(first);
    first_.store(first, relaxed);
    submitted_.signal();
    token_is_out_.signal();
    suspend();
    while (!word_.is_done()) {
      const std::uint64_t next = wait_.begin(false);
      if (!word_.expect_instead(next)) {
        MODEL_ASSERT(wait_.abandon());
        break;
      }
      if (impatient_ && choose(2) == 1) {  // once: it asks again for the end of the operation
        impatient_ = false;
        if (wait_.claim(next, wake_reason::timed_out)) MODEL_ASSERT(!wait_.deliver());
      }
      suspend();
    }
    MODEL_ASSERT(operation_.read() == 1);
    operation_.write(2);  // it leaves: the memory is another call's now
  }

  // operation::finish
  void reaper() {
    submitted_.wait();
    const std::uint64_t epoch = word_.expected();
    if (!twin_.claims_before_finishing || wait_.claim(epoch, wake_reason::notified)) {
      if (twin_.finishes_before_delivering) finish_claimed();
      if (wait_.deliver()) ready_.signal();
      if (!twin_.finishes_before_delivering) finish_claimed();
      return;
    }
    operation_.write(1);
    if (!twin_.exchanges_what_it_lost) return word_.finish_claimed();
    const std::uint64_t now = word_.finish();
    if (wait_.claim(now, wake_reason::notified) && wait_.deliver()) ready_.signal();
  }

  void canceller() {
    if (wait_.claim_cancellable() != 0 && wait_.deliver()) ready_.signal();
  }

  void deadline() {
    token_is_out_.wait();
    if (wait_.claim(first_.load(relaxed), wake_reason::timed_out) && wait_.deliver()) ready_.signal();
  }

private:
  void suspend() {
    if (wait_.take_delivered()) return;
    if (wait_.commit() == aramid::detail::park_word<atomics>::committed::parked) ready_.wait();
  }
  void finish_claimed() {
    operation_.write(1);
    word_.finish_claimed();
  }

  const twin twin_;
  bool impatient_;  // the fiber's
  aramid::detail::park_word<atomics> wait_;
  aramid::detail::completion_word<atomics> word_;
  model::plain<int> operation_{0};
  model::atomic<std::uint64_t> first_{0};
  model::event submitted_;
  model::event token_is_out_;
  model::event ready_;  // a scheduler's queue
};

void completion_alone(twin which) {
  system all(which);
  parallel([&] { all.fiber(); }, [&] { all.reaper(); });
}

void completion_against_cancel(twin which) {
  system all(which);
  parallel([&] { all.fiber(); }, [&] { all.reaper(); }, [&] { all.canceller(); });
}

void completion_against_deadline(twin which) {
  system all(which, true);
  parallel([&] { all.fiber(); }, [&] { all.reaper(); }, [&] { all.deadline(); });
}

const std::vector<scenario> scenarios{
    {"completion alone", [] { completion_alone({}); }, 5},
    {"completion against cancel", [] { completion_against_cancel({}); }, 2},
    {"completion against deadline", [] { completion_against_deadline({}); }, 2},
};

TEST(completion_word, the_fiber_leaves_when_the_reaper_has) {
  expect_holds_with_the_weakest_orders(scenarios, {"io/src/completion_word"});
}

TEST(completion_word, the_fiber_leaves_when_the_reaper_has_on_a_machine_that_loads_late) {
  expect_holds({"completion alone", [] { completion_alone({}); }, 4}, {.load_buffering = true});
  expect_holds({"completion against cancel", [] { completion_against_cancel({}); }, 1}, {.load_buffering = true});
}

TEST(completion_word, every_step_is_needed) {
  expect_caught([] { completion_against_cancel({.claims_before_finishing = false}); });
  expect_caught([] { completion_against_cancel({.finishes_before_delivering = false}); });
  expect_caught([] { completion_against_cancel({.exchanges_what_it_lost = false}); });
}

}  // namespace
