// Support for tests on the explorer: the set of outcomes of a small program, and names that keep a litmus test in a line.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <set>

#include "atomics.hpp"
#include "blocking.hpp"

namespace model {

// An exploration's length is a matter of the bound, not of the clock: a build that is slow gets one preemption less, and
// leaves out what asks about memory orders only, which are the same in every build.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
inline constexpr bool thorough = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool thorough = false;
#else
inline constexpr bool thorough = true;
#endif
#else
inline constexpr bool thorough = true;
#endif

inline constexpr auto relaxed = std::memory_order_relaxed;
inline constexpr auto acquire = std::memory_order_acquire;
inline constexpr auto release = std::memory_order_release;
inline constexpr auto acq_rel = std::memory_order_acq_rel;
inline constexpr auto seq_cst = std::memory_order_seq_cst;

using registers = std::array<int, 4>;
using outcomes = std::set<registers>;

/// Every outcome of `body`, which leaves it in its registers. Explores without a bound on
/// preemptions, and checks that merging of states loses no outcome.
inline outcomes observe(const std::function<void(registers&)>& body, options o = {}) {
  outcomes with_merging;
  o.preemptions = 100;
  for (const bool merge : {true, false}) {
    if (!merge && !thorough) break;  // slow where it says most
    outcomes seen;
    o.merge_states = merge;
    const result r = explore(o, [&] {
      registers values{};
      body(values);
      const heap::untracked scope;
      seen.insert(values);
    });
    EXPECT_FALSE(r.failed) << r.report();
    EXPECT_TRUE(r.complete);
    if (merge)
      with_merging = seen;
    else
      EXPECT_EQ(seen, with_merging) << "merging states must not lose an outcome";
  }
  return with_merging;
}

/// True if some outcome starts with `values`.
template <class... Values>
bool saw(const outcomes& seen, Values... values) {
  const std::array<int, sizeof...(Values)> wanted{values...};
  for (const registers& r : seen)
    if (std::equal(wanted.begin(), wanted.end(), r.begin())) return true;
  return false;
}

/// Explores a scenario within its bound, and expects no failure.
inline void expect_holds(const scenario& s, const memory_options& memory = {}) {
  options o;
  o.name = s.name;
  o.preemptions = thorough ? s.preemptions : s.preemptions - 1;
  o.memory = memory;
  const result r = explore(o, s.body);
  EXPECT_FALSE(r.failed) << r.report();
  EXPECT_TRUE(r.complete) << r.report();
  testing::Test::RecordProperty(s.name + (memory.load_buffering ? ", load buffering" : ""),
                                r.report());
}

/// Expects the explorer to find a failure, and one that has `what` in its description.
inline void expect_caught(const std::function<void()>& body, const std::string& what = "") {
  const result r = explore({.preemptions = 3}, body);
  EXPECT_TRUE(r.failed) << r.report();
  EXPECT_NE(r.failure.find(what), std::string::npos) << r.report();
}

/// Weakens every memory order in files named `file_part` by a step, and expects that some scenario notices, but for `survivors`.
inline void expect_caught_but(const std::vector<std::string>& survivors,
                              const std::vector<scenario>& scenarios,
                              const memory_options& memory = {},
                              const std::string& file_part = "runtime/src") {
  if (!thorough) GTEST_SKIP() << "asks about memory orders only";
  options o;
  o.memory = memory;
  const weakening_report report = weaken_each(o, file_part, scenarios);
  EXPECT_EQ(report.sound, "");
  EXPECT_EQ(report.survivors(), survivors) << report.text();
  testing::Test::RecordProperty("weakenings in " + file_part, report.text());
}

}  // namespace model
