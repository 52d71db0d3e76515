// What the explorer reports besides wrong values: races, deadlock, livelock, misuse of memory; replay; random walks.
#include "litmus.hpp"

using namespace model;

namespace {

template <class T>
using cell = model::atomic<T>;

result run(const std::function<void()>& body, int preemptions = 100) {
  return explore({.preemptions = preemptions}, body);
}

// ---- data races -------------------------------------------------------------------------------------------------------

result publish(std::memory_order store, std::memory_order load) {
  return run([=] {
    model::plain<int> data{0};
    cell<int> flag{0};
    parallel(
        [&] {
          data.write(1);
          flag.store(1, store);
        },
        [&] {
          if (flag.load(load) == 1) MODEL_ASSERT(data.read() == 1);
        });
  });
}

TEST(data_race, published_data_is_clean_and_unpublished_data_races) {
  EXPECT_FALSE(publish(release, acquire).failed) << publish(release, acquire).report();
  for (const result& r :
       {publish(relaxed, acquire), publish(release, relaxed), publish(relaxed, relaxed)}) {
    EXPECT_TRUE(r.failed);
    EXPECT_NE(r.failure.find("data race"), std::string::npos) << r.failure;
  }
}

TEST(data_race, two_writes_race_whatever_the_interleaving) {
  const result r = run([] {
    model::plain<int> data{0};
    parallel([&] { data.write(1); }, [&] { data.write(2); });
  });
  EXPECT_TRUE(r.failed);
  EXPECT_EQ(r.executions, 2u) << "the first execution shows it; the second is the trace";
}

TEST(data_race, two_reads_do_not_race) {
  EXPECT_FALSE(run([] {
                 model::plain<int> data{0};
                 parallel([&] { (void)data.read(); }, [&] { (void)data.read(); });
               }).failed);
}

TEST(data_race, a_read_after_the_release_store_is_not_covered_by_it) {
  EXPECT_TRUE(run([] {
                model::plain<int> data{0};
                cell<int> flag{0};
                parallel(
                    [&] {
                      flag.store(1, release);
                      (void)data.read();
                    },
                    [&] {
                      if (flag.load(acquire) == 1) data.write(1);
                    });
              }).failed);
}

TEST(data_race, seq_cst_fences_alone_do_not_order_plain_accesses) {
  EXPECT_TRUE(run([] {
                model::plain<int> data{0};
                parallel(
                    [&] {
                      data.write(1);
                      atomics::fence(seq_cst);
                    },
                    [&] {
                      atomics::fence(seq_cst);
                      (void)data.read();
                    });
              }).failed);
}

TEST(data_race, an_object_published_without_release_is_met_before_its_construction) {
  const auto publish_node = [](std::memory_order order) {
    return run([=] {
      struct node {
        cell<int> value{7};
      };
      cell<node*> head{nullptr};
      parallel([&] { head.store(new node, order); },
               [&] {
                 if (node* n = head.load(acquire)) MODEL_ASSERT(n->value.load(relaxed) == 7);
               });
      delete head.load(relaxed);
    });
  };
  EXPECT_FALSE(publish_node(release).failed) << publish_node(release).report();
  EXPECT_TRUE(publish_node(relaxed).failed);
}

// ---- memory -------------------------------------------------------------------------------------------------------------

TEST(memory_misuse, use_after_free_is_reported) {
  struct node {
    cell<int> value{7};
  };
  const result r = run([] {
    node* n = new node;
    cell<int> turn{0};
    parallel(
        [&] {
          n->value.load(relaxed);
          turn.store(1, release);
        },
        [&] {
          if (turn.load(acquire) == 0) return;
          delete n;
          n = nullptr;
        });
    if (n != nullptr)
      delete n;
    else
      MODEL_ASSERT(turn.load(relaxed) == 1);
  });
  EXPECT_FALSE(r.failed) << r.report();
  const result bad = run([] {
    node* n = new node;
    parallel([&] { n->value.load(relaxed); }, [&] { delete n; });
  });
  EXPECT_TRUE(bad.failed);
  EXPECT_TRUE(bad.failure.find("use after free") != std::string::npos ||
              bad.failure.find("destruction") != std::string::npos)
      << bad.failure;
}

TEST(memory_misuse, leaks_and_double_frees_are_reported) {
  const result leak = run([] { cell<int*> p{new int}; });
  EXPECT_NE(leak.failure.find("leak"), std::string::npos) << leak.failure;
  const result twice = run([] {
    cell<int*> p{new int};
    parallel([&] { delete p.load(relaxed); }, [&] { delete p.load(relaxed); });
  });
  EXPECT_EQ(twice.failure, "double free");
}

// ---- blocking, and threads that make no progress ---------------------------------------------------------------------

TEST(blocking, a_lock_order_inversion_deadlocks) {
  const auto lock_both = [](bool inverted) {
    return run([=] {
      model::mutex a, b;
      parallel(
          [&] {
            a.lock();
            b.lock();
            b.unlock();
            a.unlock();
          },
          [&] {
            (inverted ? b : a).lock();
            (inverted ? a : b).lock();
            (inverted ? a : b).unlock();
            (inverted ? b : a).unlock();
          });
    });
  };
  EXPECT_FALSE(lock_both(false).failed) << lock_both(false).report();
  EXPECT_NE(lock_both(true).failure.find("deadlock"), std::string::npos)
      << lock_both(true).report();
}

TEST(blocking, a_mutex_protects) {
  const result r = run([] {
    model::mutex m;
    model::plain<int> count{0};
    const auto add = [&] {
      m.lock();
      count.write(count.read() + 1);
      m.unlock();
    };
    parallel(add, add, add);
    MODEL_ASSERT(count.read() == 3);
  });
  EXPECT_FALSE(r.failed) << r.report();
  EXPECT_TRUE(r.complete);
}

TEST(blocking, a_futex_wait_that_checks_first_is_woken_and_one_that_does_not_is_lost) {
  const auto sleep = [](bool check) {
    return run([=] {
      cell<int> word{0};
      parallel([&] { futex_wait(&word, check ? 0U : 1U); },
               [&] {
                 word.store(1, relaxed);
                 futex_wake(&word, 1);
               });
    });
  };
  EXPECT_FALSE(sleep(true).failed) << sleep(true).report();
  EXPECT_NE(sleep(false).failure.find("deadlock"), std::string::npos);
}

// The kernel's side of a futex is fully ordered, the user's side is not: a flag set with a relaxed store before a *skipped*
// wake is not seen by the sleeper. (This is the shape of every lost wake.)
TEST(blocking, a_skipped_wake_needs_its_fence) {
  const auto sleep = [](bool fences) {
    return run([=] {
      cell<int> work{0}, sleeping{0}, word{0};
      parallel(
          [&] {
            sleeping.store(1, relaxed);
            if (fences) atomics::fence(seq_cst);
            if (work.load(relaxed) == 0) futex_wait(&word, 0);
          },
          [&] {
            work.store(1, relaxed);
            if (fences) atomics::fence(seq_cst);
            if (sleeping.load(relaxed) == 1) {
              word.store(1, relaxed);
              futex_wake(&word, 1);
            }
          });
    });
  };
  EXPECT_FALSE(sleep(true).failed) << sleep(true).report();
  EXPECT_NE(sleep(false).failure.find("deadlock"), std::string::npos);
}

TEST(blocking, an_event_keeps_its_signal) {
  const result r = run([] {
    model::event e;
    model::plain<int> data{0};
    parallel(
        [&] {
          data.write(1);
          e.signal();
        },
        [&] {
          e.wait();
          MODEL_ASSERT(data.read() == 1);
        });
  });
  EXPECT_FALSE(r.failed) << r.report();
}

TEST(progress, a_spinner_ends_and_a_hopeless_one_is_a_livelock) {
  const auto spin = [](bool set, bool pause) {
    return run([=] {
      cell<int> flag{0};
      parallel(
          [&] {
            if (set) flag.store(1, relaxed);
          },
          [&] {
            while (flag.load(relaxed) == 0)
              if (pause) atomics::pause();
          },
          [&] {
            while (flag.load(relaxed) == 0)
              if (pause) atomics::pause();
          });
    });
  };
  EXPECT_FALSE(spin(true, true).failed) << spin(true, true).report();
  EXPECT_NE(spin(false, true).failure.find("livelock"), std::string::npos);
}

TEST(progress, a_spinlock_excludes) {
  const result r = run(
      [] {
        cell<int> lock{0};
        model::plain<int> count{0};
        const auto add = [&] {
          while (lock.exchange(1, acquire) == 1) atomics::pause();
          count.write(count.read() + 1);
          lock.store(0, release);
        };
        parallel(add, add);
        MODEL_ASSERT(count.read() == 2);
      },
      3);
  EXPECT_FALSE(r.failed) << r.report();
  EXPECT_TRUE(r.complete);
}

// ---- the search itself --------------------------------------------------------------------------------------------------

void lost_update() {
  cell<int> x{0};
  x.named("x");
  const auto add = [&] { x.store(x.load(relaxed) + 1, relaxed); };
  parallel(add, add);
  MODEL_ASSERT(x.load(relaxed) == 2);
}

TEST(search, a_failure_replays_from_its_choices_with_a_readable_trace) {
  const result found = run(&lost_update);
  ASSERT_TRUE(found.failed);
  EXPECT_NE(found.trace.find("load(relaxed) x 0"), std::string::npos) << found.trace;
  EXPECT_NE(found.trace.find("store(relaxed) x 1"), std::string::npos) << found.trace;
  const result again = explore({.replay = found.choices}, &lost_update);
  EXPECT_EQ(again.executions, 1u);
  EXPECT_EQ(again.failure, found.failure);
  EXPECT_EQ(again.trace, found.trace);
}

TEST(search, a_random_walk_finds_it_and_the_seed_repeats_it) {
  const options o{.random_executions = 1000, .seed = 7};
  const result a = explore(o, &lost_update), b = explore(o, &lost_update);
  ASSERT_TRUE(a.failed);
  EXPECT_EQ(a.choices, b.choices);
  EXPECT_EQ(explore({.replay = a.choices}, &lost_update).failure, a.failure);
}

// Three writers in turn: the bug needs two preemptions and no stale read can stand in for them.
TEST(search, the_bound_on_preemptions_bounds_what_is_found) {
  const auto body = [] {
    cell<int> x{0};
    parallel(
        [&] {
          if (x.fetch_add(1, acq_rel) == 0)
            MODEL_ASSERT(x.fetch_add(1, acq_rel) == 1 || x.load(seq_cst) != 4);
        },
        [&] {
          int one = 1;
          if (x.compare_exchange_strong(one, 2, acq_rel, acquire)) {
            int three = 3;
            (void)x.compare_exchange_strong(three, 4, acq_rel, acquire);
          }
        });
  };
  EXPECT_FALSE(run(body, 0).failed);
  EXPECT_FALSE(run(body, 1).failed);
  EXPECT_TRUE(run(body, 3).failed);
}

TEST(search, the_users_choices_are_explored) {
  std::set<std::size_t> seen;
  const result r = run([&] {
    const std::size_t taken = choose(5);
    const heap::untracked scope;
    seen.insert(taken);
  });
  EXPECT_EQ(seen.size(), 5u);
  EXPECT_TRUE(r.complete);
}

}  // namespace
