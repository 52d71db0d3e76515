// fiber<T>, spawn and this_fiber: results, failures, handles, cancellation through them, and storms of all of it.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/channel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

class fiber_test : public runtime_test {};

INSTANTIATE_TEST_SUITE_P(workers, fiber_test, worker_counts);

// --- results ---------------------------------------------------------------------------------------------------------

TEST_P(fiber_test, join_returns_values_references_and_nothing) {
  run([] {
    EXPECT_EQ(spawn([] { return 42; }).join(), 42);

    auto moved = spawn([] { return std::make_unique<int>(7); }).join();
    EXPECT_EQ(*moved, 7);

    int variable = 1;
    fiber<int&> reference = spawn([&]() -> int& { return variable; });
    int& same = reference.join();
    EXPECT_EQ(&same, &variable);

    bool ran = false;
    auto nothing = spawn([&] { ran = true; });
    static_assert(std::is_void_v<decltype(nothing.join())>);
    nothing.join();
    EXPECT_TRUE(ran);
  });
}

TEST_P(fiber_test, results_need_no_default_constructor_nor_copy) {
  struct stubborn {
    explicit stubborn(int v) : value(v) {}
    stubborn(stubborn&& other) noexcept : value(std::exchange(other.value, -1)) {}
    stubborn& operator=(stubborn&&) = delete;
    int value;
  };
  run([] { EXPECT_EQ(spawn([] { return stubborn(5); }).join().value, 5); });
}

TEST_P(fiber_test, arguments_are_copied_and_passed_on_as_by_std_thread) {
  run([] {
    std::string kept = "kept";
    auto owned = std::make_unique<int>(3);
    int by_reference = 0;
    auto f = spawn(
        [](std::string a, std::unique_ptr<int> b, int& c, const char* d, std::string&& e) {
          c = *b;
          return a + d + e;
        },
        kept, std::move(owned), std::ref(by_reference), " and ", std::string("moved"));
    kept = "changed after";
    EXPECT_EQ(f.join(), "kept and moved");
    EXPECT_EQ(by_reference, 3);
  });
}

TEST_P(fiber_test, calls_whatever_std_invoke_does) {
  struct counter {
    int value = 0;
    int add(int n) { return value += n; }
  };
  struct function_object {
    std::unique_ptr<int> owned = std::make_unique<int>(9);
    int operator()() && { return *owned; }
  };
  run([] {
    counter c;
    EXPECT_EQ(spawn(&counter::add, &c, 2).join(), 2);
    EXPECT_EQ(c.value, 2);
    EXPECT_EQ(spawn(function_object{}).join(), 9);
    EXPECT_EQ(spawn(static_cast<int (*)(int)>(std::abs), -4).join(), 4);
  });
}

template <std::size_t Words>
void spawn_one_of() {
  std::array<std::uint64_t, Words + 1> captured{};
  captured.fill(Words);
  const auto sum = spawn([captured] { return std::accumulate(captured.begin(), captured.end(), std::uint64_t{0}); }).join();
  EXPECT_EQ(sum, (Words + 1) * Words);
}

template <std::size_t... Words>
void for_each_size(std::index_sequence<Words...>) {
  (spawn_one_of<Words>(), ...);
}

TEST_P(fiber_test, what_does_not_fit_into_the_control_block_is_boxed) {
  struct alignas(256) wide {
    std::array<std::uint64_t, 512> words{};
  };
  run([] {
    wide big;
    std::iota(big.words.begin(), big.words.end(), 1U);
    auto f = spawn([big] {
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&big) % alignof(wide), 0U);
      wide result = big;
      result.words[0] = 99;
      return result;
    });
    const wide back = f.join();
    EXPECT_EQ(back.words[0], 99U);
    EXPECT_EQ(back.words[511], 512U);

    // Just below, at and above what fits, whatever that is.
    for_each_size(std::make_index_sequence<40>{});
  });
}

// --- failures --------------------------------------------------------------------------------------------------------

TEST_P(fiber_test, join_rethrows_what_the_fiber_threw) {
  run([] {
    auto f = spawn([]() -> int { throw std::runtime_error("from the fiber"); });
    try {
      f.join();
      ADD_FAILURE() << "did not throw";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "from the fiber");
    }
    EXPECT_FALSE(f.joinable());

    auto no_exception = spawn([] { throw 17; });
    EXPECT_THROW(no_exception.join(), int);

    auto reference = spawn([]() -> int& { throw std::logic_error("none"); });
    EXPECT_THROW(reference.join(), std::logic_error);
  });
}

TEST_P(fiber_test, a_result_whose_move_throws_is_a_failure_of_the_fiber) {
  struct fragile {
    fragile() = default;
    fragile(fragile&&) { throw std::domain_error("move"); }
    counted instance;
  };
  run([] {
    auto f = spawn([made = std::make_shared<fragile>()]() -> fragile { return std::move(*made); });
    EXPECT_THROW(f.join(), std::domain_error);
  });
  EXPECT_EQ(counted::alive(), 0);
}

TEST_P(fiber_test, misused_handles_are_logic_errors) {
  run([] {
    fiber<int> none;
    EXPECT_FALSE(none.joinable());
    EXPECT_THROW(none.join(), std::logic_error);
    EXPECT_THROW(none.join_for(1ms), std::logic_error);
    EXPECT_THROW((void)none.done(), std::logic_error);
    EXPECT_THROW(none.cancel(), std::logic_error);
    EXPECT_THROW(none.detach(), std::logic_error);
    EXPECT_THROW(none.on_done([] {}), std::logic_error);
    EXPECT_EQ(none.get_id(), 0U);

    auto twice = spawn([] { return 1; });
    EXPECT_EQ(twice.join(), 1);
    EXPECT_THROW(twice.join(), std::logic_error);

    auto source = spawn([] { return 2; });
    auto target = std::move(source);
    EXPECT_FALSE(source.joinable());  // NOLINT(bugprone-use-after-move): that is the test
    EXPECT_THROW(source.join(), std::logic_error);
    EXPECT_EQ(target.join(), 2);
  });
}

TEST_P(fiber_test, a_self_join_is_a_logic_error) {
  run([] {
    std::atomic<fiber<bool>*> handle{nullptr};
    auto f = spawn([&] {
      EXPECT_TRUE(eventually([&] { return handle.load() != nullptr; }));
      EXPECT_THROW((void)handle.load()->join(), std::logic_error);
      EXPECT_THROW((void)handle.load()->join_for(1ms), std::logic_error);
      return true;
    });
    handle = &f;
    EXPECT_TRUE(f.join());
  });
}

TEST_P(fiber_test, a_failure_nobody_joined_for_is_logged_by_name) {
  captured_log log;
  run([] {
    auto f = spawn(fiber_options{.name = "unheard"}, [] { throw std::runtime_error("alas"); });
    EXPECT_TRUE(eventually([&] { return f.done(); }));
  });
  EXPECT_EQ(log.count("unheard"), 1U);
  EXPECT_EQ(log.count("alas"), 1U);
}

TEST_P(fiber_test, a_failure_that_was_heard_is_not_logged) {
  captured_log log;
  run([] {
    auto f = spawn([] { throw std::runtime_error("heard"); });
    EXPECT_THROW(f.join(), std::runtime_error);
    auto cancelled_one = spawn([] { sleep_until_cancelled(); });
    cancelled_one.cancel();
    EXPECT_THROW(cancelled_one.join(), fiber_cancelled);
    auto dropped = spawn([] { sleep_until_cancelled(); });
  });
  EXPECT_TRUE(log.lines().empty());
}

// --- waiting for a bounded time --------------------------------------------------------------------------------------

TEST_P(fiber_test, join_for_ends_either_way) {
  run([] {
    std::atomic<bool> go{false};
    auto value = spawn([&] {
      EXPECT_TRUE(eventually([&] { return go.load(); }));
      return std::string("late");
    });
    EXPECT_EQ(value.join_for(0ms), std::nullopt);
    EXPECT_EQ(value.join_for(-5s), std::nullopt);
    EXPECT_EQ(value.join_for(1ms), std::nullopt);
    EXPECT_TRUE(value.joinable());
    EXPECT_FALSE(value.done());
    go = true;
    EXPECT_EQ(value.join_for(std::chrono::hours::max()), "late");
    EXPECT_FALSE(value.joinable());

    auto nothing = spawn([] { sleep_until_cancelled(); });
    EXPECT_FALSE(nothing.join_for(1us));
    nothing.cancel();
    EXPECT_THROW((void)nothing.join_for(1h), fiber_cancelled);

    int variable = 0;
    auto reference = spawn([&]() -> int& { return variable; });
    EXPECT_EQ(reference.join_until(time_point::max()), &variable);
  });
}

TEST_P(fiber_test, join_for_races_with_the_end) {
  run([] {
    for (int i = 0; i < scaled(3000, 100); ++i) {
      auto f = spawn([i] {
        for (int n = 0; n < i % 7; ++n) {
          this_fiber::yield();
        }
        return i;
      });
      std::optional<int> got;
      while (!(got = f.join_for(std::chrono::microseconds(i % 5)))) {
      }
      ASSERT_EQ(*got, i);
    }
  });
}

TEST_P(fiber_test, threads_join_fibers) {
  runtime rt(options{.workers = workers()});
  const no_fiber_left check{rt};
  std::atomic<bool> go{false};
  auto slow = rt.spawn([&] {
    EXPECT_TRUE(eventually([&] { return go.load(); }));
    return 5;
  });
  EXPECT_EQ(slow.join_for(1ms), std::nullopt);
  go = true;
  EXPECT_EQ(slow.join(), 5);
  auto failing = rt.spawn([] { throw std::out_of_range("x"); });
  EXPECT_THROW(failing.join(), std::out_of_range);
  auto parked = rt.spawn([] { sleep_until_cancelled(); });
  parked.cancel();
  EXPECT_THROW(parked.join(), fiber_cancelled);
  { auto dropped = rt.spawn([] { sleep_until_cancelled(); }); }
}

TEST_P(fiber_test, a_join_that_is_cancelled_leaves_the_handle_as_it_was) {
  run([] {
    std::atomic<bool> go{false};
    auto target = spawn([&] {
      EXPECT_TRUE(eventually([&] { return go.load(); }));
      return 3;
    });
    std::atomic<bool> waits{false};
    auto joiner = spawn([&] {
      waits = true;
      (void)target.join();
    });
    EXPECT_TRUE(eventually([&] { return waits.load(); }));
    joiner.cancel();
    EXPECT_THROW(joiner.join(), fiber_cancelled);
    EXPECT_TRUE(target.joinable());
    go = true;
    EXPECT_EQ(target.join(), 3);
  });
}

// --- cancellation through the handle ---------------------------------------------------------------------------------

TEST_P(fiber_test, cancelled_before_it_starts_it_never_runs_but_its_captures_die) {
  aramid::run(
      [] {
        bool ran = false;
        auto f = spawn([&ran, instance = counted{}] { ran = true; });
        EXPECT_EQ(counted::alive(), 1);
        f.cancel();  // one worker: it cannot have begun
        EXPECT_THROW(f.join(), fiber_cancelled);
        EXPECT_FALSE(ran);
        EXPECT_EQ(counted::alive(), 0);
      },
      options{.workers = 1});
}

TEST_P(fiber_test, cancel_ends_a_wait) {
  run([] {
    std::atomic<bool> waits{false};
    auto f = spawn([&] {
      waits = true;
      sleep_until_cancelled();
    });
    EXPECT_TRUE(eventually([&] { return waits.load(); }));
    f.cancel();
    f.cancel();
    EXPECT_THROW(f.join(), fiber_cancelled);
  });
}

TEST_P(fiber_test, cancel_while_running_is_seen_at_the_next_wait) {
  runtime rt(options{.workers = workers()});
  std::atomic<int> stage{0};
  auto f = rt.spawn([&] {
    stage = 1;
    while (stage != 2) {  // does not suspend
    }
    EXPECT_TRUE(this_fiber::cancel_requested());
    this_fiber::checkpoint();
    stage = 3;
  });
  EXPECT_TRUE(eventually([&] { return stage == 1; }));
  f.cancel();
  stage = 2;
  EXPECT_THROW(f.join(), fiber_cancelled);
  EXPECT_EQ(stage, 2);
}

TEST_P(fiber_test, cancel_after_the_end_changes_nothing) {
  run([] {
    auto f = spawn([] { return 8; });
    EXPECT_TRUE(eventually([&] { return f.done(); }));
    f.cancel();
    EXPECT_EQ(f.join(), 8);
  });
}

TEST_P(fiber_test, a_fiber_that_ignores_its_cancellation_and_returns_has_returned) {
  run([] {
    std::atomic<bool> waits{false};
    auto f = spawn([&]() -> int {
      try {
        waits = true;
        sleep_until_cancelled();
      } catch (const cancelled&) {
        return 6;
      }
      return 0;
    });
    EXPECT_TRUE(eventually([&] { return waits.load(); }));
    f.cancel();
    EXPECT_EQ(f.join(), 6);
  });
}

TEST_P(fiber_test, cancel_races_with_everything) {
  run([] {
    for (int i = 0; i < scaled(2000, 100); ++i) {
      std::atomic<int> steps{0};
      auto f = spawn([&, i] {
        for (int n = 0; n < i % 5; ++n) {
          this_fiber::yield();
          ++steps;
        }
        if (i % 3 == 0) {
          this_fiber::sleep_for(1us);
        }
        return i;
      });
      for (int n = 0; n < i % 4; ++n) {
        this_fiber::yield();
      }
      f.cancel();
      try {
        ASSERT_EQ(f.join(), i);
        ASSERT_EQ(steps, i % 5);
      } catch (const fiber_cancelled&) {
        ASSERT_LE(steps, i % 5);
      }
    }
  });
}

// --- the destructor, assignment, detach ------------------------------------------------------------------------------

TEST_P(fiber_test, the_destructor_cancels_and_joins) {
  run([] {
    bool unwound = false;
    {
      std::atomic<bool> waits{false};
      auto f = spawn([&] {
        struct mark {
          bool& set;
          ~mark() {
            this_fiber::yield();  // unwinding: not thrown out of
            set = true;
          }
        } const on_exit{unwound};
        waits = true;
        sleep_until_cancelled();
      });
      EXPECT_TRUE(eventually([&] { return waits.load(); }));
    }
    EXPECT_TRUE(unwound);
  });
}

TEST_P(fiber_test, the_destructor_waits_even_when_its_own_fiber_is_cancelled) {
  run([] {
    std::atomic<bool> inner_ended{false};
    std::atomic<bool> waits{false};
    auto outer = spawn([&] {
      auto inner = spawn([&] {
        try {
          waits = true;
          sleep_until_cancelled();
        } catch (const cancelled&) {
          const shield guard;
          for (int i = 0; i < 50; ++i) {
            this_fiber::yield();
          }
          inner_ended = true;
          throw;
        }
      });
      sleep_until_cancelled();
    });
    EXPECT_TRUE(eventually([&] { return waits.load(); }));
    outer.cancel();
    EXPECT_THROW(outer.join(), fiber_cancelled);
    EXPECT_TRUE(inner_ended);
  });
}

TEST_P(fiber_test, assignment_ends_what_the_handle_stood_for) {
  run([] {
    std::atomic<int> ended{0};
    const auto body = [&ended](std::atomic<bool>& waits) {
      struct on_exit {
        std::atomic<int>& count;
        ~on_exit() { ++count; }
      } const mark{ended};
      waits = true;
      sleep_until_cancelled();
    };
    std::atomic<bool> first_waits{false};
    fiber<> f = spawn(body, std::ref(first_waits));
    EXPECT_TRUE(eventually([&] { return first_waits.load(); }));
    f = spawn([] {});
    EXPECT_EQ(ended, 1);
    auto& same = f;
    f = std::move(same);
    EXPECT_TRUE(f.joinable());
    f.join();
    f = fiber<>();
    EXPECT_FALSE(f.joinable());
  });
}

TEST_P(fiber_test, a_detached_fiber_goes_on) {
  run([] {
    std::atomic<bool> go{false};
    std::atomic<bool> ended{false};
    auto f = spawn([&] {
      EXPECT_TRUE(eventually([&] { return go.load(); }));
      ended = true;
    });
    f.detach();
    EXPECT_FALSE(f.joinable());
    go = true;
    EXPECT_TRUE(eventually([&] { return ended.load(); }));
  });
}

TEST_P(fiber_test, the_result_of_a_detached_fiber_is_destroyed) {
  run([] {
    for (int i = 0; i < scaled(500); ++i) {
      spawn([] { return counted{}; }).detach();
    }
    EXPECT_TRUE(eventually([] { return counted::alive() == 0; }));
  });
  EXPECT_EQ(counted::alive(), 0);
}

using fiber_death_test = leaves_nothing;

TEST_F(fiber_death_test, a_detached_failure_terminates_by_name) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(aramid::run([] {
                 spawn(fiber_options{.name = "lonely"}, [] { throw std::runtime_error("no one to tell"); }).detach();
                 sleep_until_cancelled();
               }),
               "lonely.*no one to tell");
}

TEST_F(fiber_death_test, detaching_what_has_failed_terminates_by_name) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(aramid::run([] {
                 auto f = spawn(fiber_options{.name = "late"}, [] { throw std::runtime_error("too late"); });
                 (void)eventually([&] { return f.done(); });
                 f.detach();
               }),
               "late.*too late");
}

TEST_F(fiber_death_test, a_fiber_that_destroys_its_own_handle_terminates_by_name) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(aramid::run([] {
                 auto* const handle = new fiber<>;
                 channel<int> assigned;
                 *handle = spawn(fiber_options{.name = "ouroboros"}, [&] {
                   (void)assigned.receive();
                   delete handle;
                 });
                 assigned.send(1);
                 sleep_until_cancelled();
               }),
               "ouroboros");
}

// --- spawning --------------------------------------------------------------------------------------------------------

TEST_P(fiber_test, a_callable_whose_copy_throws_leaves_nothing) {
  struct throwing {
    throwing() = default;
    throwing(const throwing&) { throw std::runtime_error("copy"); }
    void operator()() const {}
    counted instance;
    std::array<char, 1000> large{};
  };
  struct throwing_small {
    throwing_small() = default;
    throwing_small(const throwing_small&) { throw std::runtime_error("copy"); }
    void operator()() const {}
    counted instance;
  };
  runtime rt(options{.workers = workers()});
  const auto attempt = [&rt](auto spawner) {
    const throwing large;
    const throwing_small small;
    for (int i = 0; i < 100; ++i) {
      EXPECT_THROW(spawner(large), std::runtime_error);
      EXPECT_THROW(spawner(small), std::runtime_error);
    }
    EXPECT_EQ(counted::alive(), 2);
  };
  attempt([&](const auto& fn) { (void)rt.spawn(fn); });  // from a thread
  EXPECT_EQ(rt.stats().fibers, 0U);
  rt.spawn([&] {
      attempt([](const auto& fn) { (void)spawn(fn); });
      EXPECT_EQ(stats().fibers, 1U);
    }).join();
  EXPECT_EQ(counted::alive(), 0);
}

// Seen from another worker than the one on which it ends, and which may lose its CPU before it is through with it.
TEST_P(fiber_test, one_that_is_done_is_counted_no_more) {
  if (workers() == 1) {
    GTEST_SKIP() << "needs a second worker";
  }
  run([] {
    for (int i = 0; i < scaled(5000, 300); ++i) {
      auto child = spawn([] {});
      const auto patience = clock::now() + 60s;
      while (!child.done() && clock::now() < patience) {  // and without yielding: it has to be stolen
      }
      ASSERT_TRUE(child.done());
      ASSERT_EQ(stats().fibers, 1U) << "round " << i;
    }
  });
}

TEST_P(fiber_test, outside_of_any_runtime_spawn_is_a_logic_error) {
  EXPECT_THROW((void)spawn([] {}), std::logic_error);
  EXPECT_THROW((void)spawn(fiber_options{.name = "x"}, [] {}), std::logic_error);
  EXPECT_EQ(this_fiber::get_id(), 0U);
  EXPECT_EQ(this_fiber::name(), "");
  EXPECT_FALSE(this_fiber::cancel_requested());
  this_fiber::yield();
  this_fiber::sleep_for(1us);
  this_fiber::checkpoint();
}

TEST_P(fiber_test, names_and_ids) {
  run([] {
    EXPECT_EQ(this_fiber::name(), "root");
    std::set<fiber_id> ids{this_fiber::get_id()};
    for (int i = 0; i < 3000; ++i) {
      auto f = spawn([] { return this_fiber::get_id(); });
      const fiber_id from_outside = f.get_id();
      EXPECT_EQ(f.join(), from_outside);
      EXPECT_TRUE(ids.insert(from_outside).second);
    }
    EXPECT_FALSE(ids.contains(0));
    EXPECT_EQ(spawn([] { return std::string(this_fiber::name()); }).join(), "");
    std::string changing(100, 'n');
    auto named = spawn(fiber_options{.name = changing}, [] { return std::string(this_fiber::name()); });
    changing.assign(100, 'x');
    EXPECT_EQ(named.join(), std::string(31, 'n'));
  });
}

TEST_P(fiber_test, stack_sizes) {
  run([] {
    EXPECT_THROW((void)spawn(fiber_options{.stack_size_bytes = std::size_t{1} << 40}, [] {}), std::invalid_argument);
    for (const std::size_t size : {std::size_t{1}, std::size_t{20'000}, std::size_t{64} << 10, std::size_t{1} << 20}) {
      auto f = spawn(fiber_options{.stack_size_bytes = size}, [] {
        this_fiber::yield();
        return 1;
      });
      EXPECT_EQ(f.join(), 1);
    }
    // Half of a large stack is really there.
    EXPECT_EQ(spawn(fiber_options{.stack_size_bytes = std::size_t{4} << 20},
                    [] {
                      volatile char room[2 << 20];  // NOLINT
                      for (std::size_t i = 0; i < sizeof room; i += 4096) {
                        room[i] = 1;
                      }
                      return static_cast<int>(room[0]);
                    })
                  .join(),
              1);
  });
}

TEST_P(fiber_test, what_it_captured_may_suspend_in_its_destructor_although_it_is_cancelled) {
  struct slow_to_go {
    std::atomic<bool>* gone;
    ~slow_to_go() {
      this_fiber::yield();  // would throw out of a destructor
      gone->store(true);
    }
  };
  run([] {
    std::atomic<bool> gone{false};
    auto captured = std::make_unique<slow_to_go>(&gone);
    auto cancelled_one = spawn([captured = std::move(captured)] { this_fiber::sleep_for(1h); });
    cancelled_one.cancel();
    EXPECT_THROW(cancelled_one.join(), fiber_cancelled);
    EXPECT_TRUE(gone.load());
  });
}

TEST_P(fiber_test, pinned_fibers_never_migrate) {
  run([] {
    std::vector<fiber<>> fibers;
    std::atomic<int> left{16};
    for (int i = 0; i < 16; ++i) {
      fibers.push_back(spawn(fiber_options{.pinned = true}, [&left, i] {
        const auto home = std::this_thread::get_id();
        for (int n = 0; n < scaled(2000, 50); ++n) {
          if (n % 16 == i) {
            this_fiber::sleep_for(1us);
          } else {
            this_fiber::yield();
          }
          ASSERT_EQ(std::this_thread::get_id(), home);
        }
        --left;
      }));
      fibers.push_back(spawn([&left] {  // others, so that there is something to steal and be woken by
        while (left != 0) {
          this_fiber::yield();
        }
      }));
    }
    for (auto& each : fibers) {
      each.join();
    }
  });
}

TEST_P(fiber_test, a_pinned_fiber_is_not_starved_by_others_that_yield) {
  aramid::run(
      [] {
        bool ended = false;
        auto pinned = spawn(fiber_options{.pinned = true}, [&] {
          for (int i = 0; i < 100; ++i) {
            this_fiber::yield();
          }
          ended = true;
        });
        const auto busy = [&] {
          for (int i = 0; i < 200'000 && !ended; ++i) {
            this_fiber::yield();
          }
          EXPECT_TRUE(ended) << "200,000 yields, and the pinned fiber has not had its 100";
        };
        auto a = spawn(busy);
        auto b = spawn(busy);
        a.join();
        b.join();
        pinned.join();
      },
      options{.workers = 1});
}

// --- on_done ---------------------------------------------------------------------------------------------------------

TEST_P(fiber_test, on_done_is_called_once_whenever_it_was_set) {
  run([] {
    for (int i = 0; i < scaled(1000, 50); ++i) {
      std::atomic<int> calls{0};
      auto f = spawn([i] {
        if (i % 3 == 1) {
          this_fiber::yield();
        }
      });
      f.on_done([&] { ++calls; });
      if (i % 2 == 0) {
        this_fiber::yield();
      }
      f.on_done([&] { ++calls; });
      f.join();
      // Callbacks run after the joiner has been told.
      ASSERT_TRUE(eventually([&] { return calls == 2; }));
      auto failed = spawn([] { throw 1; });
      EXPECT_THROW(failed.join(), int);
    }
  });
}

// --- storms ----------------------------------------------------------------------------------------------------------

TEST_P(fiber_test, trees_of_fibers_add_up) {
  struct tree {
    static int count(int depth) {
      if (depth == 0) {
        return 1;
      }
      auto left = spawn(&tree::count, depth - 1);
      auto right = spawn(&tree::count, depth - 1);
      return left.join() + right.join();
    }
  };
  constexpr int depth = sanitized ? 8 : 15;
  run([] { EXPECT_EQ(tree::count(depth), 1 << depth); });
}

TEST_P(fiber_test, storms_from_several_workers_and_threads) {
  runtime rt(options{.workers = workers()});
  const no_fiber_left check{rt};
  const int rounds = scaled(4000, 60);
  std::atomic<long> sum{0};
  std::vector<fiber<>> spawners;
  for (int i = 0; i < 6; ++i) {
    spawners.push_back(rt.spawn([&] {
      std::vector<fiber<int>> children;
      for (int n = 0; n < rounds; ++n) {
        children.push_back(spawn([n] {
          if (n % 3 == 0) {
            this_fiber::yield();
          }
          return n;
        }));
        if (children.size() == 32) {
          for (auto& each : children) {
            sum += each.join();
          }
          children.clear();
        }
      }
      for (auto& each : children) {
        sum += each.join();
      }
    }));
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < rounds; ++n) {
        sum += rt.spawn([n] { return n; }).join();
      }
    });
  }
  for (auto& each : threads) {
    each.join();
  }
  for (auto& each : spawners) {
    each.join();
  }
  EXPECT_EQ(sum, 8L * rounds * (rounds - 1) / 2);
}

TEST_P(fiber_test, handles_are_handed_around) {
  // A chain in which every fiber joins the one before, made by moving the handle into the next.
  run([] {
    fiber<int> last = spawn([] { return 0; });
    for (int i = 0; i < scaled(5000, 200); ++i) {
      last = spawn([before = std::move(last)]() mutable { return before.join() + 1; });
    }
    EXPECT_EQ(last.join(), scaled(5000, 200));
  });
}

TEST_P(fiber_test, a_handle_may_outlive_its_runtime) {
  fiber<std::string> result;
  fiber<> failed;
  fiber<> cut_short;
  {
    runtime rt(options{.workers = workers()});
    result = rt.spawn([] { return std::string("kept"); });
    failed = rt.spawn([] { throw std::length_error("kept too"); });
    EXPECT_TRUE(eventually([&] { return result.done() && failed.done(); }));
    cut_short = rt.spawn([] { sleep_until_cancelled(); });
  }
  EXPECT_EQ(result.join(), "kept");
  EXPECT_THROW(failed.join(), std::length_error);
  EXPECT_THROW(cut_short.join(), fiber_cancelled);
}

TEST_P(fiber_test, one_spawned_for_later_waits_first_and_cancelled_meanwhile_never_runs) {
  run([] {
    const auto begun = clock::now();
    auto later = spawn_after(2ms, [](int a, std::unique_ptr<int> b) { return a + *b; }, 1, std::make_unique<int>(2));
    EXPECT_EQ(later.join(), 3);
    EXPECT_GE(clock::now() - begun, 2ms);
    auto never = spawn_after(std::chrono::hours(1), [] { ADD_FAILURE(); });
    this_fiber::yield();
    never.cancel();
    EXPECT_THROW(never.join(), fiber_cancelled);
    spawn_after(-1s, [] {}).join();
  });
}

}  // namespace
}  // namespace aramid::test
