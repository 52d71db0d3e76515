// condition_variable.cpp by its steps: no notification goes to one who leaves, none is lost between the look at the state and the wait, and
// whoever has been passed over touches the object no more. (By steps, because the real one keeps its locks in a static table.)
#include <aramid/detail/spin_lock.hpp>
#include <aramid/detail/wait_queue.hpp>
#include <aramid/park.hpp>

#include <mutex>
#include <utility>
#include <vector>

#include "modelled_product.hpp"

namespace {

using namespace model;

enum class without {
  nothing,
  queueing_first,  // the mutex is let go before the waiter stands in the queue
  passing_on,      // a notification that loses its claim goes to nobody else
  the_look,        // who gives up writes to the object although it has been passed over
};

/// The locks of queues, which outlive what they guard.
struct table {
  aramid::detail::spin_lock lock;
};

template <without What = without::nothing>
class condition {
public:
  explicit condition(table& of) : lock_(of.lock) {}

  /// Returns false at the deadline. Throws aramid::cancelled. The mutex is held then as well.
  bool wait(model::mutex& held, aramid::time_point deadline = aramid::time_point::max()) {
    aramid::detail::spin_lock& lock = lock_;
    aramid::wake_reason reason{};
    {
      aramid::parker wait;
      aramid::detail::wait_node me;
      me.token = wait.token();
      if (What == without::queueing_first) held.unlock();
      {
        const std::lock_guard guard(lock);
        waiters_.push_back(me);
        has_waiters_.store(true, relaxed);
      }
      if (What != without::queueing_first) held.unlock();
      reason = wait.park_until(deadline);
      if (reason != aramid::wake_reason::notified) {
        const std::lock_guard guard(lock);
        const bool stood_there = waiters_.remove(me);
        if ((stood_there || What == without::the_look) && waiters_.empty()) has_waiters_.store(false, release);
      }
    }
    held.lock();
    if (reason == aramid::wake_reason::cancelled) aramid::throw_cancelled();
    return reason == aramid::wake_reason::notified;
  }

  void notify_one() {
    if (!has_waiters_.load(acquire)) return;
    const aramid::detail::wait_node* next = nullptr;
    {
      const std::lock_guard guard(lock_);
      next = What == without::passing_on ? claim_first_only() : waiters_.claim_front();
      has_waiters_.store(!waiters_.empty(), release);
    }
    if (next != nullptr) deliver(next->token);
  }

  void notify_all() {
    if (!has_waiters_.load(acquire)) return;
    aramid::detail::wait_node* all = nullptr;
    {
      const std::lock_guard guard(lock_);
      all = waiters_.claim_all();
      has_waiters_.store(false, release);
    }
    aramid::detail::deliver_all(all);
  }

private:
  aramid::detail::wait_node* claim_first_only() {
    bool first = true;
    return waiters_.claim_front_while([&](const auto&) { return std::exchange(first, false); });
  }

  aramid::detail::spin_lock& lock_;
  aramid::detail::wait_queue<aramid::detail::wait_node> waiters_;
  model::atomic<bool> has_waiters_{false};
};

/// One waits for what another brings about, and may be cancelled.
template <without What = without::nothing>
void one_waits() {
  table locks;
  condition<What> changed(locks);
  model::mutex held;
  model::plain<bool> there{false};
  together(
      [&] {
        held.lock();
        const bool stayed = unless_cancelled([&] {
          while (!there.read()) (void)changed.wait(held);
        });
        MODEL_ASSERT(!stayed || there.read());
        held.unlock();
      },
      [&] {
        held.lock();
        there.write(true);
        held.unlock();
        changed.notify_one();
      });
}

/// Of two that wait one may be cancelled; one notification, which whoever gets it passes on.
template <without What = without::nothing>
void one_of_two_leaves() {
  table locks;
  condition<What> changed(locks);
  model::mutex held;
  model::plain<bool> there{false};
  const auto wait = [&](bool wavers) {
    held.lock();
    const auto until_there = [&] {
      while (!there.read()) (void)changed.wait(held);
    };
    bool stayed = true;
    if (wavers) {
      stayed = unless_cancelled(until_there);
    } else {
      until_there();
    }
    held.unlock();
    if (stayed) changed.notify_one();
  };
  together([&] { wait(true); }, [&] { wait(false); },
           [&] {
             held.lock();
             there.write(true);
             held.unlock();
             changed.notify_one();
           });
}

/// A notifier destroys the object when all have been notified, of whom one may be on its way out.
template <without What = without::nothing, bool All = true>
void the_notifier_destroys() {
  table locks;
  auto* const changed = new condition<What>(locks);
  model::mutex held;
  model::plain<bool> waits{false};
  bool destroyed = false;
  together(
      [&] {
        held.lock();
        waits.write(true);
        (void)changed->wait(held, aramid::time_point(at_last));
        held.unlock();
      },
      [&] {
        held.lock();
        destroyed = waits.read();
        held.unlock();
        if (destroyed) {
          All ? changed->notify_all() : changed->notify_one();
          delete changed;
        }
      });
  if (!destroyed) delete changed;
}

const std::vector<scenario> scenarios{
    {"one waits", &one_waits<>, 4},
    {"one of two leaves", &one_of_two_leaves<>, 2},
    {"the notifier of all destroys", &the_notifier_destroys<>, 4},
    {"the notifier of one destroys", &the_notifier_destroys<without::nothing, false>, 4},
};

// What a notifier stores is read by others who notify; nobody may destroy the object before they have returned.
TEST(condition_protocol, no_notification_is_lost_to_one_who_leaves) {
  expect_holds_with_the_weakest_orders(
      scenarios, {"condition_protocol_test.cpp"},
      {"notify_one: store(release) -> relaxed", "notify_all: store(release) -> relaxed"});
}

TEST(condition_protocol, every_step_is_needed) {
  expect_caught(&one_waits<without::queueing_first>, "deadlock");
  expect_caught(&one_of_two_leaves<without::passing_on>, "deadlock");
  expect_caught(&the_notifier_destroys<without::the_look>);
}

}  // namespace
