// The explorer against the litmus tests of the literature: what C++20 allows is observed, what it forbids is not. Names
// as in Alglave, Maranget, Tautschnig, "Herding cats" (TOPLAS 2014), and Lahav et al., "Repairing sequential consistency
// in C/C++11" (PLDI 2017).
#include "litmus.hpp"

using namespace model;

namespace {

template <class T>
using cell = model::atomic<T>;

void sc_fence() { atomics::fence(seq_cst); }

// ---- SB: store buffering --------------------------------------------------------------------------------------------

outcomes store_buffering(std::memory_order store, std::memory_order load,
                         const std::function<void(int)>& between) {
  return observe([&](registers& r) {
    cell<int> x{0}, y{0};
    parallel(
        [&] {
          x.store(1, store);
          between(0);
          r[0] = y.load(load);
        },
        [&] {
          y.store(1, store);
          between(1);
          r[1] = x.load(load);
        });
  });
}

TEST(litmus, store_buffering_relaxed_is_allowed) {
  const outcomes seen = store_buffering(relaxed, relaxed, [](int) {});
  EXPECT_EQ(seen.size(), 4u);
  EXPECT_TRUE(saw(seen, 0, 0));
}

TEST(litmus, store_buffering_release_acquire_is_allowed) {
  EXPECT_TRUE(saw(store_buffering(release, acquire, [](int) {}), 0, 0));
}

TEST(litmus, store_buffering_seq_cst_is_forbidden) {
  const outcomes seen = store_buffering(seq_cst, seq_cst, [](int) {});
  EXPECT_EQ(seen.size(), 3u);
  EXPECT_FALSE(saw(seen, 0, 0));
}

TEST(litmus, store_buffering_seq_cst_store_and_acquire_load_is_allowed) {
  EXPECT_TRUE(saw(store_buffering(seq_cst, acquire, [](int) {}), 0, 0));
  EXPECT_TRUE(saw(store_buffering(release, seq_cst, [](int) {}), 0, 0));
}

TEST(litmus, store_buffering_with_seq_cst_fences_is_forbidden) {
  const outcomes seen = store_buffering(relaxed, relaxed, [](int) { sc_fence(); });
  EXPECT_EQ(seen.size(), 3u);
  EXPECT_FALSE(saw(seen, 0, 0));
}

TEST(litmus, store_buffering_with_weaker_or_single_fences_is_allowed) {
  EXPECT_TRUE(saw(store_buffering(relaxed, relaxed, [](int) { atomics::fence(acq_rel); }), 0, 0));
  EXPECT_TRUE(saw(store_buffering(relaxed, relaxed, [](int) { atomics::fence(acquire); }), 0, 0));
  EXPECT_TRUE(saw(store_buffering(relaxed, relaxed, [](int) { atomics::fence(release); }), 0, 0));
  EXPECT_TRUE(saw(store_buffering(relaxed, relaxed,
                                  [](int t) {
                                    if (t == 0) sc_fence();
                                  }),
                  0, 0));
}

// One side fences, the other uses SC accesses: [atomics.order] p4.2 and p4.3.
TEST(litmus, store_buffering_with_a_fence_against_seq_cst_accesses_is_forbidden) {
  const outcomes seen = observe([](registers& r) {
    cell<int> x{0}, y{0};
    parallel(
        [&] {
          x.store(1, relaxed);
          sc_fence();
          r[0] = y.load(relaxed);
        },
        [&] {
          y.store(1, seq_cst);
          r[1] = x.load(seq_cst);
        });
  });
  EXPECT_EQ(seen.size(), 3u);
  EXPECT_FALSE(saw(seen, 0, 0));
}

// An RMW is not a fence: SB with exchanges in place of stores stays allowed below seq_cst.
TEST(litmus, store_buffering_with_acq_rel_exchange_is_allowed) {
  const outcomes seen = observe([](registers& r) {
    cell<int> x{0}, y{0};
    parallel(
        [&] {
          x.exchange(1, acq_rel);
          r[0] = y.load(acquire);
        },
        [&] {
          y.exchange(1, acq_rel);
          r[1] = x.load(acquire);
        });
  });
  EXPECT_TRUE(saw(seen, 0, 0));
}

// ---- asymmetric fences ----------------------------------------------------------------------------------------------

TEST(litmus, store_buffering_with_a_heavy_and_a_light_fence_is_forbidden) {
  const outcomes seen = store_buffering(relaxed, relaxed, [](int t) {
    if (t == 0)
      atomics::heavy_fence();
    else
      atomics::light_fence();
  });
  EXPECT_EQ(seen.size(), 3u);
  EXPECT_FALSE(saw(seen, 0, 0));
}

TEST(litmus, store_buffering_with_two_heavy_fences_is_forbidden) {
  EXPECT_FALSE(saw(store_buffering(relaxed, relaxed, [](int) { atomics::heavy_fence(); }), 0, 0));
  EXPECT_FALSE(saw(store_buffering(relaxed, relaxed,
                                   [](int t) {
                                     if (t == 0)
                                       atomics::heavy_fence();
                                     else
                                       sc_fence();
                                   }),
                   0, 0));
}

TEST(litmus, store_buffering_without_both_halves_of_the_asymmetric_fence_is_allowed) {
  EXPECT_TRUE(saw(store_buffering(relaxed, relaxed, [](int) { atomics::light_fence(); }), 0, 0));
  EXPECT_TRUE(saw(store_buffering(relaxed, relaxed,
                                  [](int t) {
                                    if (t == 0) atomics::heavy_fence();
                                  }),
                  0, 0));
  EXPECT_TRUE(saw(store_buffering(relaxed, relaxed,
                                  [](int t) {
                                    if (t == 0)
                                      sc_fence();
                                    else
                                      atomics::light_fence();
                                  }),
                  0, 0));
}

// The grace period of an RCU-like reader: heavy waits out the reader, then may write what the reader read plainly.
TEST(litmus, heavy_and_light_fences_order_plain_accesses_through_a_relaxed_flag) {
  const auto run = [](bool with_light) {
    return explore({.preemptions = 100}, [with_light] {
      cell<int> busy{1};
      model::plain<int> data{0};
      parallel(
          [&] {
            (void)data.read();
            if (with_light) atomics::light_fence();
            busy.store(0, relaxed);
          },
          [&] {
            if (busy.load(relaxed) == 0) {
              atomics::heavy_fence();
              data.write(1);
            }
          });
    });
  };
  EXPECT_FALSE(run(true).failed) << run(true).report();
  EXPECT_TRUE(run(false).failed);
}

// ---- MP: message passing --------------------------------------------------------------------------------------------

outcomes message_passing(std::memory_order store, std::memory_order load, bool release_fence,
                         bool acquire_fence) {
  return observe([&](registers& r) {
    cell<int> data{0}, flag{0};
    parallel(
        [&] {
          data.store(1, relaxed);
          if (release_fence) atomics::fence(release);
          flag.store(1, store);
        },
        [&] {
          r[0] = flag.load(load);
          if (acquire_fence) atomics::fence(acquire);
          r[1] = data.load(relaxed);
        });
  });
}

TEST(litmus, message_passing) {
  EXPECT_TRUE(saw(message_passing(relaxed, relaxed, false, false), 1, 0));
  EXPECT_TRUE(saw(message_passing(release, relaxed, false, false), 1, 0));
  EXPECT_TRUE(saw(message_passing(relaxed, acquire, false, false), 1, 0));
  EXPECT_FALSE(saw(message_passing(release, acquire, false, false), 1, 0));
  EXPECT_FALSE(saw(message_passing(seq_cst, seq_cst, false, false), 1, 0));
  EXPECT_EQ(message_passing(release, acquire, false, false).size(), 3u);
}

TEST(litmus, message_passing_with_fences) {
  EXPECT_FALSE(saw(message_passing(relaxed, relaxed, true, true), 1, 0));
  EXPECT_FALSE(saw(message_passing(relaxed, acquire, true, false), 1, 0));
  EXPECT_FALSE(saw(message_passing(release, relaxed, false, true), 1, 0));
  EXPECT_TRUE(saw(message_passing(relaxed, relaxed, true, false), 1, 0));
  EXPECT_TRUE(saw(message_passing(relaxed, relaxed, false, true), 1, 0));
}

TEST(litmus, message_passing_is_transitive) {
  const auto chain = [](std::memory_order middle) {
    return observe([middle](registers& r) {
      cell<int> data{0}, first{0}, second{0};
      parallel(
          [&] {
            data.store(1, relaxed);
            first.store(1, release);
          },
          [&] {
            if (first.load(acquire) == 1) second.store(1, middle);
          },
          [&] {
            r[0] = second.load(acquire);
            r[1] = data.load(relaxed);
          });
    });
  };
  EXPECT_FALSE(saw(chain(release), 1, 0));
  EXPECT_TRUE(saw(chain(release), 1, 1));
  EXPECT_TRUE(saw(chain(relaxed), 1, 0));
}

// ---- LB, IRIW, WRC, 2+2W, S, R ----------------------------------------------------------------------------------------

// Load buffering is not produced unless asked for: a load reads only stores that have run. C++20 allows it for relaxed
// accesses, and AArch64 may show it.
outcomes load_buffering(bool allowed, std::memory_order load, std::memory_order store,
                        bool fence = false) {
  options o;
  o.memory.load_buffering = allowed;
  return observe(
      [=](registers& r) {
        cell<int> x{0}, y{0};
        parallel(
            [&] {
              r[0] = x.load(load);
              if (fence) atomics::fence(acquire);
              y.store(1, store);
            },
            [&] {
              r[1] = y.load(load);
              if (fence) atomics::fence(acquire);
              x.store(1, store);
            });
      },
      o);
}

TEST(litmus, load_buffering) {
  EXPECT_FALSE(saw(load_buffering(false, relaxed, relaxed), 1, 1));
  EXPECT_EQ(load_buffering(false, relaxed, relaxed).size(), 3u);
  EXPECT_TRUE(saw(load_buffering(true, relaxed, relaxed), 1, 1));
  EXPECT_EQ(load_buffering(true, relaxed, relaxed).size(), 4u);
  EXPECT_FALSE(saw(load_buffering(true, acquire, release), 1, 1));
  EXPECT_FALSE(saw(load_buffering(true, relaxed, relaxed, true), 1, 1));
}

TEST(litmus, no_value_comes_out_of_thin_air) {
  options o;
  o.memory.load_buffering = true;
  const outcomes seen = observe(
      [](registers& r) {
        cell<int> x{0}, y{0};
        parallel(
            [&] {
              r[0] = x.load(relaxed);
              y.store(r[0], relaxed);
            },
            [&] {
              r[1] = y.load(relaxed);
              x.store(r[1], relaxed);
            });
      },
      o);
  EXPECT_EQ(seen, (outcomes{{0, 0}}));
}

// A load that precedes a release RMW stays in front of what follows its acquirer: the thief's read of a slot, and the owner
// who reuses it.
TEST(litmus, a_release_keeps_earlier_loads_in_front) {
  const auto reuse = [](std::memory_order take, std::memory_order look) {
    options o;
    o.memory.load_buffering = true;
    return observe(
        [=](registers& r) {
          cell<int> slot{1}, top{0};
          parallel(
              [&] {
                r[0] = slot.load(relaxed);
                top.fetch_add(1, take);
              },
              [&] {
                if (top.load(look) == 1) slot.store(2, relaxed);
              });
        },
        o);
  };
  EXPECT_EQ(reuse(release, acquire), (outcomes{{1}}));
  EXPECT_EQ(reuse(relaxed, acquire), (outcomes{{1}, {2}}));
  EXPECT_EQ(reuse(release, relaxed), (outcomes{{1}, {2}}));
}

outcomes independent_reads(std::memory_order store, std::memory_order load, bool fences) {
  return observe([&](registers& r) {
    cell<int> x{0}, y{0};
    parallel([&] { x.store(1, store); }, [&] { y.store(1, store); },
             [&] {
               r[0] = x.load(load);
               if (fences) sc_fence();
               r[1] = y.load(load);
             },
             [&] {
               r[2] = y.load(load);
               if (fences) sc_fence();
               r[3] = x.load(load);
             });
  });
}

TEST(litmus, independent_reads_of_independent_writes) {
  EXPECT_TRUE(saw(independent_reads(relaxed, relaxed, false), 1, 0, 1, 0));
  EXPECT_TRUE(saw(independent_reads(release, acquire, false), 1, 0, 1, 0));
  EXPECT_FALSE(saw(independent_reads(seq_cst, seq_cst, false), 1, 0, 1, 0));
  EXPECT_FALSE(saw(independent_reads(relaxed, relaxed, true), 1, 0, 1, 0));
  EXPECT_TRUE(saw(independent_reads(seq_cst, acquire, false), 1, 0, 1, 0));
  EXPECT_EQ(independent_reads(seq_cst, seq_cst, false).size(), 15u);
}

TEST(litmus, write_to_read_causality) {
  const auto run = [](std::memory_order store, std::memory_order load) {
    return observe([=](registers& r) {
      cell<int> x{0}, y{0};
      parallel([&] { x.store(1, relaxed); },
               [&] {
                 r[0] = x.load(relaxed);
                 y.store(1, store);
               },
               [&] {
                 r[1] = y.load(load);
                 r[2] = x.load(relaxed);
               });
    });
  };
  EXPECT_TRUE(saw(run(relaxed, relaxed), 1, 1, 0));
  EXPECT_FALSE(saw(run(release, acquire), 1, 1, 0));
}

outcomes two_plus_two_writes(std::memory_order order, bool fences, bool reorder = true) {
  options o;
  o.memory.reorder_stores = reorder;
  return observe(
      [&](registers& r) {
        cell<int> x{0}, y{0};
        parallel(
            [&] {
              x.store(1, order);
              if (fences) sc_fence();
              y.store(2, order);
            },
            [&] {
              y.store(1, order);
              if (fences) sc_fence();
              x.store(2, order);
            });
        r[0] = x.load(relaxed);
        r[1] = y.load(relaxed);
      },
      o);
}

TEST(litmus, two_plus_two_writes) {
  EXPECT_TRUE(saw(two_plus_two_writes(relaxed, false), 1, 1));
  EXPECT_TRUE(saw(two_plus_two_writes(release, false), 1, 1));
  EXPECT_FALSE(saw(two_plus_two_writes(seq_cst, false), 1, 1));
  EXPECT_FALSE(saw(two_plus_two_writes(relaxed, true), 1, 1));
  EXPECT_FALSE(
      saw(two_plus_two_writes(relaxed, false, false), 1, 1));  // what the option switches off
}

TEST(litmus, r_and_s) {
  const auto r_shape = [](bool fences) {
    return observe([=](registers& r) {
      cell<int> x{0}, y{0};
      parallel(
          [&] {
            x.store(1, relaxed);
            if (fences) sc_fence();
            y.store(1, relaxed);
          },
          [&] {
            y.store(2, relaxed);
            if (fences) sc_fence();
            r[0] = x.load(relaxed);
          });
      r[1] = y.load(relaxed);
    });
  };
  EXPECT_TRUE(saw(r_shape(false), 0, 2));
  EXPECT_FALSE(saw(r_shape(true), 0, 2));
  const auto s_shape = [](std::memory_order store, std::memory_order load) {
    return observe([=](registers& r) {
      cell<int> x{0}, y{0};
      parallel(
          [&] {
            x.store(2, relaxed);
            y.store(1, store);
          },
          [&] {
            r[0] = y.load(load);
            x.store(1, relaxed);
          });
      r[1] = x.load(relaxed);
    });
  };
  EXPECT_TRUE(saw(s_shape(relaxed, relaxed), 1, 2));
  EXPECT_FALSE(saw(s_shape(release, acquire), 1, 2));
}

}  // namespace
