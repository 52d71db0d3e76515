#include <aramid/fiber_local.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/channel.hpp>
#include <aramid/task_group.hpp>

#include "migrate.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {

namespace {

using namespace std::chrono_literals;

class fiber_local_test : public runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, fiber_local_test, worker_counts);

TEST_P(fiber_local_test, each_fiber_has_a_value_of_its_own_wherever_it_runs) {
  run([] {
    static const fiber_local<int> local;
    with_task_group([&](task_group& group) {
      for (int i = 0; i != 100; ++i) {
        group.spawn([&, i] {
          EXPECT_EQ(local.find(), nullptr);
          for (int round = 0; round != 20; ++round) {
            EXPECT_EQ(*local, round == 0 ? 0 : i + round - 1);
            *local = i + round;
            this_fiber::yield();
          }
        });
      }
    });
    EXPECT_EQ(local.find(), nullptr);
  });
}

TEST_P(fiber_local_test, a_thread_has_one_too_and_destroys_it_when_it_ends) {
  const fiber_local<counted> local;
  std::thread([&] {
    (void)local.get();
    EXPECT_EQ(counted::alive(), 1);
    runtime rt(options{.workers = workers()});
    rt.spawn([&] {
        (void)local.get();
        EXPECT_EQ(counted::alive(), 2);
      }).join();
    EXPECT_EQ(counted::alive(), 1);
  }).join();
  EXPECT_EQ(counted::alive(), 0);
}

TEST_P(fiber_local_test, values_are_gone_when_the_fiber_is_joined_also_if_it_failed_or_was_cancelled) {
  run([] {
    const fiber_local<counted> local;
    auto returns = spawn([&] { (void)local.get(); });
    returns.join();
    EXPECT_EQ(counted::alive(), 0);
    auto fails = spawn([&] {
      (void)local.get();
      throw std::runtime_error("on purpose");
    });
    EXPECT_THROW(fails.join(), std::runtime_error);
    EXPECT_EQ(counted::alive(), 0);
    channel<int> began;
    auto sleeps = spawn([&] {
      (void)local.get();
      began.send(1);
      sleep_until_cancelled();
    });
    (void)began.receive();
    EXPECT_EQ(counted::alive(), 1);
    sleeps.cancel();
    EXPECT_THROW(sleeps.join(), fiber_cancelled);
    EXPECT_EQ(counted::alive(), 0);
  });
}

/// Destroys itself with a wait, and tells of it.
struct suspends_when_it_goes {
  channel<int>* gone;
  int number;
  suspends_when_it_goes(channel<int>& list, int n) : gone(&list), number(n) {}
  suspends_when_it_goes(suspends_when_it_goes&& other) noexcept : gone(std::exchange(other.gone, nullptr)), number(other.number) {}
  ~suspends_when_it_goes() {
    if (gone != nullptr) {
      this_fiber::sleep_for(1ms);
      gone->send(number);
    }
  }
};

TEST_P(fiber_local_test, the_newest_goes_first_and_destructors_may_suspend_in_a_cancelled_fiber) {
  run([] {
    channel<int> gone(3);
    const fiber_local<suspends_when_it_goes> first([&] { return suspends_when_it_goes(gone, 1); });
    const fiber_local<suspends_when_it_goes> second([&] { return suspends_when_it_goes(gone, 2); });
    const fiber_local<suspends_when_it_goes> third([&] { return suspends_when_it_goes(gone, 3); });
    auto cancelled_one = spawn([&] {
      (void)second.get();
      (void)third.get();
      (void)first.get();
      second.reset();
      sleep_until_cancelled();
    });
    EXPECT_EQ(gone.receive(), 2);
    cancelled_one.cancel();
    EXPECT_THROW(cancelled_one.join(), fiber_cancelled);
    EXPECT_EQ(gone.receive(), 1);
    EXPECT_EQ(gone.receive(), 3);
  });
}

/// Asks for `other` when it goes.
struct asks_when_it_goes {
  const fiber_local<counted>* other;
  ~asks_when_it_goes() {
    if (other != nullptr) {
      (void)other->get();
    }
  }
};

TEST_P(fiber_local_test, a_value_made_by_a_destructor_goes_too) {
  run([] {
    const fiber_local<counted> late;
    const fiber_local<std::unique_ptr<asks_when_it_goes>> early;
    spawn([&] { early.get().reset(new asks_when_it_goes{&late}); }).join();
    EXPECT_EQ(counted::alive(), 0);
  });
}

TEST_P(fiber_local_test, a_variable_may_go_before_the_values_and_its_place_come_again) {
  run([] {
    spawn([] {
      for (int i = 0; i != 1000; ++i) {
        const fiber_local<std::string> numbers;
        EXPECT_EQ(numbers.find(), nullptr);
        *numbers = std::to_string(i);
        const fiber_local<counted> others;
        (void)others.get();
        // A place is used again, and what lay there is destroyed: values do not pile up.
        EXPECT_LE(counted::alive(), 2);
      }
    }).join();
    EXPECT_EQ(counted::alive(), 0);
  });
}

/// Makes a value of `next` when it goes.
struct makes_another_when_it_goes {
  const std::optional<fiber_local<counted>>* next;
  ~makes_another_when_it_goes() {
    if (next != nullptr && next->has_value()) {
      (void)(**next).get();
    }
  }
};

TEST_P(fiber_local_test, a_value_that_takes_a_place_may_be_asked_for_by_the_one_that_was_there) {
  run([] {
    std::optional<fiber_local<counted>> second;
    spawn([&] {
      {
        const fiber_local<std::unique_ptr<makes_another_when_it_goes>> first;
        first.get().reset(new makes_another_when_it_goes{&second});
      }
      second.emplace();  // in the same place
      (void)second->get();
      EXPECT_LE(counted::alive(), 2);
    }).join();
    EXPECT_EQ(counted::alive(), 0);
  });
}

TEST_P(fiber_local_test, what_making_a_value_throws_leaves_none) {
  run([] {
    int calls = 0;
    const fiber_local<int> local([&]() -> int {
      if (++calls == 1) {
        throw std::runtime_error("not yet");
      }
      return 7;
    });
    EXPECT_THROW((void)local.get(), std::runtime_error);
    EXPECT_EQ(local.find(), nullptr);
    EXPECT_EQ(*local, 7);
  });
}

class context_var_test : public runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, context_var_test, worker_counts);

TEST_P(context_var_test, bindings_nest_and_end) {
  run([] {
    const context_var<std::string> request("none");
    EXPECT_EQ(request.get(), "none");
    request.with("outer", [&] {
      EXPECT_EQ(request.get(), "outer");
      {
        const context_var<std::string>::binding inner(request, "inner");
        EXPECT_EQ(request.get(), "inner");
      }
      EXPECT_EQ(request.get(), "outer");
      EXPECT_THROW(request.with("failing", [] { throw std::runtime_error("on purpose"); }), std::runtime_error);
      EXPECT_EQ(request.get(), "outer");
    });
    EXPECT_EQ(request.get(), "none");
    const context_var<int> unbound;
    EXPECT_EQ(unbound.find(), nullptr);
    EXPECT_THROW((void)unbound.get(), std::logic_error);
  });
}

TEST_P(context_var_test, what_is_spawned_inherits_and_keeps_it_and_its_own_are_not_seen_by_the_parent) {
  run([] {
    const context_var<std::string> request("none");
    const context_var<int> depth(0);
    fiber<std::string> child;
    request.with("r-1", [&] {
      child = spawn([&] {
        const context_var<int>::binding mine(depth, depth.get() + 1);
        this_fiber::sleep_for(2ms);  // the parent's binding has ended by then
        auto grandchild = spawn([&] { return request.get() + ':' + std::to_string(depth.get()); });
        return grandchild.join();
      });
      EXPECT_EQ(depth.get(), 0);
    });
    EXPECT_EQ(request.get(), "none");
    EXPECT_EQ(child.join(), "r-1:1");
    // A group's children, a plain thread's and those of another runtime as well.
    request.with("r-2", [&] {
      with_task_group([&](task_group& group) { EXPECT_EQ(group.spawn([&] { return request.get(); }).join(), "r-2"); });
    });
  });
  const context_var<int> number(0);
  number.with(3, [&] {
    EXPECT_EQ(run([&] { return number.get(); }), 3);
  });
  EXPECT_EQ(number.get(), 0);
}

TEST_P(context_var_test, values_live_as_long_as_anybody_who_sees_them) {
  run([] {
    const context_var<counted> variable;
    channel<int> go;
    auto child = variable.with(counted(), [&] { return spawn([&] { (void)go.receive(); }); });
    EXPECT_EQ(counted::alive(), 1);
    go.send(1);
    child.join();
    EXPECT_EQ(counted::alive(), 0);
    // Killed, perhaps before it began.
    auto killed = variable.with(counted(), [&] { return spawn([] {}); });
    killed.cancel();
    killed.wait();
    EXPECT_EQ(counted::alive(), 0);
    // Never started, because its callable cannot be copied.
    struct cannot_be_copied {
      cannot_be_copied() = default;
      cannot_be_copied(const cannot_be_copied&) { throw std::runtime_error("on purpose"); }
      void operator()() const {}
    };
    const cannot_be_copied callable;
    EXPECT_THROW(variable.with(counted(), [&] { (void)spawn(callable); }), std::runtime_error);
    EXPECT_EQ(counted::alive(), 0);
  });
  EXPECT_EQ(counted::alive(), 0);
}

TEST_P(context_var_test, a_hook_of_a_group_sees_what_the_failing_fiber_saw) {
  run([] {
    const context_var<std::string> request("none");
    std::string seen;
    {
      task_group group(on_error::isolate, [&](const std::exception_ptr&) { seen = request.get(); });
      request.with("r-9", [&] { group.spawn([] { throw std::runtime_error("on purpose"); }); });
      group.join();
    }
    EXPECT_EQ(seen, "r-9");
  });
}

TEST_P(context_var_test, a_tree_of_fibers_shares_the_values_and_frees_each_once) {
  run([] {
    const context_var<std::shared_ptr<int>> shared;
    const context_var<int> level(0);
    const auto value = std::make_shared<int>(5);
    std::atomic<int> leaves = 0;
    struct tree {
      const context_var<std::shared_ptr<int>>& shared;
      const context_var<int>& level;
      std::atomic<int>& leaves;
      void grow(int height) const {
        EXPECT_EQ(**shared.find(), 5);
        EXPECT_EQ(level.get() + height, tallest);
        if (height == 0) {
          ++leaves;
          return;
        }
        level.with(level.get() + 1, [&] {
          with_task_group([&](task_group& group) {
            for (int i = 0; i != 3; ++i) {
              group.spawn([this, height] { grow(height - 1); });
            }
          });
        });
      }
      int tallest;
    };
    const int height = scaled(8, 5);
    const tree of{shared, level, leaves, height};
    shared.with(value, [&] { of.grow(height); });
    int expected = 1;
    for (int i = 0; i != height; ++i) {
      expected *= 3;
    }
    EXPECT_EQ(leaves, expected);
    EXPECT_EQ(value.use_count(), 1);
  });
}

}  // namespace

}  // namespace aramid::test
