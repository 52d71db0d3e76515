// More of litmus_test.cpp: coherence, read-modify-writes and release sequences, and the finer print of seq_cst.
#include "litmus.hpp"

using namespace model;

namespace {

template <class T>
using cell = model::atomic<T>;

void sc_fence() { atomics::fence(seq_cst); }

// ---- coherence --------------------------------------------------------------------------------------------------------

TEST(litmus, coherence_read_read) {
  const outcomes seen = observe([](registers& r) {
    cell<int> x{0};
    parallel(
        [&] {
          x.store(1, relaxed);
          x.store(2, relaxed);
        },
        [&] {
          r[0] = x.load(relaxed);
          r[1] = x.load(relaxed);
        });
  });
  EXPECT_EQ(seen, (outcomes{{0, 0}, {0, 1}, {0, 2}, {1, 1}, {1, 2}, {2, 2}}));
}

TEST(litmus, coherence_write_write_and_write_read) {
  const outcomes seen = observe([](registers& r) {
    cell<int> x{0};
    parallel(
        [&] {
          x.store(1, relaxed);
          r[0] = x.load(relaxed);
          x.store(2, relaxed);
        },
        [&] {
          x.store(3, relaxed);
          r[1] = x.load(relaxed);
        });
    r[2] = x.load(relaxed);
  });
  EXPECT_FALSE(saw(seen, 0));     // own store is seen
  EXPECT_FALSE(saw(seen, 3, 1));  // one has seen 1 before 3, the other 3 before 1
  EXPECT_TRUE(saw(seen, 1, 1, 2));
  EXPECT_TRUE(saw(seen, 1, 2, 2));
  EXPECT_TRUE(saw(seen, 1, 3, 3));
  EXPECT_TRUE(saw(seen, 3, 3, 2));
  EXPECT_FALSE(saw(seen, 1, 3, 1));  // 1 is never last: 2 follows it
}

TEST(litmus, coherence_of_two_readers) {
  const outcomes seen = observe([](registers& r) {
    cell<int> x{0};
    parallel([&] { x.store(1, relaxed); }, [&] { x.store(2, relaxed); },
             [&] {
               r[0] = x.load(relaxed);
               r[1] = x.load(relaxed);
             },
             [&] {
               r[2] = x.load(relaxed);
               r[3] = x.load(relaxed);
             });
  });
  EXPECT_TRUE(saw(seen, 1, 2, 1, 2));
  EXPECT_TRUE(saw(seen, 2, 1, 2, 1));
  EXPECT_FALSE(saw(seen, 1, 2, 2, 1));
}

// ---- RMW and release sequences ------------------------------------------------------------------------------------------

TEST(litmus, rmw_is_atomic) {
  const outcomes seen = observe([](registers& r) {
    cell<int> x{0};
    parallel([&] { r[0] = x.fetch_add(1, relaxed); }, [&] { r[1] = x.fetch_add(1, relaxed); },
             [&] { r[2] = x.fetch_add(1, relaxed); });
    r[3] = x.load(relaxed);
  });
  EXPECT_EQ(seen.size(), 6u);
  for (const registers& r : seen) EXPECT_EQ(r[3], 3);
}

TEST(litmus, one_compare_exchange_wins) {
  const outcomes seen = observe([](registers& r) {
    cell<int> x{0};
    int a = 0, b = 0;
    parallel(
        [&] {
          r[0] = x.compare_exchange_strong(a, 1, relaxed, relaxed);
          r[2] = a;
        },
        [&] {
          r[1] = x.compare_exchange_strong(b, 2, relaxed, relaxed);
          r[3] = b;
        });
  });
  EXPECT_EQ(seen, (outcomes{{1, 0, 0, 1}, {0, 1, 2, 0}}));
}

TEST(litmus, weak_compare_exchange_may_fail_for_no_reason) {
  const outcomes weak = observe([](registers& r) {
    cell<int> x{0};
    int a = 0;
    r[0] = x.compare_exchange_weak(a, 1, relaxed, relaxed);
  });
  EXPECT_EQ(weak, (outcomes{{0}, {1}}));
}

TEST(litmus, a_failing_compare_exchange_may_read_a_stale_value) {
  const outcomes seen = observe([](registers& r) {
    cell<int> x{5}, y{0};
    parallel(
        [&] {
          x.store(0, relaxed);
          y.store(1, release);
        },
        [&] {
          r[0] = y.load(relaxed);
          int expected = 0;
          r[1] = x.compare_exchange_strong(expected, 1, relaxed, relaxed);
          r[2] = expected;
        });
  });
  EXPECT_TRUE(saw(seen, 1, 0, 5));
  EXPECT_TRUE(saw(seen, 1, 1, 0));
}

TEST(litmus, release_sequence_goes_through_rmws_only) {
  const auto run = [](bool rmw) {
    return observe([=](registers& r) {
      cell<int> data{0}, flag{0};
      parallel(
          [&] {
            data.store(1, relaxed);
            flag.store(1, release);
            if (!rmw) flag.store(3, relaxed);
          },
          [&] {
            if (rmw) flag.fetch_add(2, relaxed);
          },
          [&] {
            r[0] = flag.load(acquire);
            r[1] = data.load(relaxed);
          });
    });
  };
  EXPECT_TRUE(saw(run(true), 3, 1));
  EXPECT_FALSE(saw(run(true), 3, 0));  // through the relaxed RMW
  EXPECT_TRUE(saw(run(false), 3, 0));  // C++20: no longer through a store of the same thread
  EXPECT_FALSE(saw(run(true), 1, 0));
}

// ---- seq_cst, the finer print -------------------------------------------------------------------------------------------

// An SC load may still read past an SC store's predecessor only if S allows it; relaxed loads are not bound by S.
TEST(litmus, seq_cst_stores_bind_seq_cst_loads_only) {
  const auto run = [](std::memory_order load) {
    return observe([=](registers& r) {
      cell<int> x{0}, y{0};
      parallel(
          [&] {
            x.store(1, seq_cst);
            y.store(1, relaxed);
          },
          [&] {
            r[0] = y.load(relaxed);
            r[1] = x.load(load);
          });
    });
  };
  EXPECT_TRUE(saw(run(relaxed), 1, 0));
  EXPECT_FALSE(saw(run(seq_cst), 1, 0));
}

// RWC: the reader's fence and the last thread's fence, with a plain release-acquire store between.
TEST(litmus, read_to_write_causality_with_fences) {
  const auto run = [](bool fences) {
    return observe([=](registers& r) {
      cell<int> x{0}, y{0};
      parallel([&] { x.store(1, relaxed); },
               [&] {
                 r[0] = x.load(relaxed);
                 if (fences) sc_fence();
                 r[1] = y.load(relaxed);
               },
               [&] {
                 y.store(1, relaxed);
                 if (fences) sc_fence();
                 r[2] = x.load(relaxed);
               });
    });
  };
  EXPECT_TRUE(saw(run(false), 1, 0, 0));
  EXPECT_FALSE(saw(run(true), 1, 0, 0));
}

}  // namespace
