// Support for tests on the explorer: the set of outcomes of a small program, and names that keep a litmus test in a line.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <set>

#include "atomics.hpp"
#include "blocking.hpp"

namespace model {

// An exploration's length is a matter of the bound, not of the clock. A build that is slow does not explore, for interleavings and
// orders are the same in every build: it walks each scenario at random, for what a sanitizer may see on the way.
#if defined(__SANITIZE_ADDRESS__) || !defined(__OPTIMIZE__)
inline constexpr bool thorough = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
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

inline constexpr std::uint64_t walks_of_a_slow_build = 5'000;

/// Explores a scenario within its bound, and expects no failure.
inline void expect_holds(const scenario& s, const memory_options& memory = {}) {
  options o;
  o.name = s.name;
  o.preemptions = s.preemptions;
  o.memory = memory;
  if (!thorough) o.random_executions = walks_of_a_slow_build;
  const result r = explore(o, s.body);
  EXPECT_FALSE(r.failed) << r.report();
  EXPECT_EQ(r.complete, thorough) << r.report();
  testing::Test::RecordProperty(s.name + (memory.load_buffering ? ", load buffering" : ""),
                                r.report());
}

/// Expects the explorer to find a failure, and one that has `what` in its description.
inline void expect_caught(const std::function<void()>& body, const std::string& what = "") {
  const result r = explore({.preemptions = 3}, body);
  EXPECT_TRUE(r.failed) << r.report();
  EXPECT_NE(r.failure.find(what), std::string::npos) << r.report();
}

/// Expects every scenario to hold, and to need the memory orders it has: each one in files named as one of `file_parts` is weakened by a step, and
/// some scenario has to notice, but for `survivors`; `least` are noticed.
inline void expect_holds_with_the_weakest_orders(const std::vector<scenario>& scenarios, const std::vector<std::string>& file_parts,
                                                 const std::vector<std::string>& survivors = {},
                                                 const memory_options& memory = {}, std::size_t least = 0) {
  if (!thorough) {
    for (const scenario& s : scenarios) expect_holds(s, memory);
    return;
  }
  options o;
  o.memory = memory;
  const weakening_report report = weaken_each(o, file_parts, scenarios);
  EXPECT_EQ(report.sound, "");
  EXPECT_EQ(report.survivors(), survivors) << report.text();
  EXPECT_GE(report.caught(), least) << report.text();
  testing::Test::RecordProperty("weakenings", report.text());
}

}  // namespace model
