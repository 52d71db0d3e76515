// Support for tests on the explorer: the set of outcomes of a small program, and names that keep a litmus test in a line.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <set>

#include "atomics.hpp"
#include "blocking.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MODEL_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MODEL_SANITIZED 1
#endif
#endif

namespace model {

#if defined(MODEL_SANITIZED)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

inline constexpr auto relaxed = std::memory_order_relaxed;
inline constexpr auto acquire = std::memory_order_acquire;
inline constexpr auto release = std::memory_order_release;
inline constexpr auto acq_rel = std::memory_order_acq_rel;
inline constexpr auto seq_cst = std::memory_order_seq_cst;

using registers = std::array<int, 4>;
using outcomes = std::set<registers>;

/// Every outcome of `body`, which leaves it in its registers. Explores without a bound on preemptions, and checks that
/// merging of states loses no outcome.
inline outcomes observe(const std::function<void(registers&)>& body, options o = {}) {
    outcomes with_merging;
    o.preemptions = 100;
    for (const bool merge : {true, false}) {
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

}  // namespace model
