// The loop of `select`. The steps are those of detail/select_case.hpp.
#pragma once

#include <cstddef>
#include <span>

#include <aramid/detail/select_case.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

/// Step 1, from `first` on.
inline std::size_t attempt_one(std::span<select_case* const> cases, std::size_t first) {
  for (std::size_t n = 0; n != cases.size(); ++n) {
    const std::size_t which = (first + n) % cases.size();
    if (cases[which]->attempt()) {
      return which;
    }
  }
  return no_case;
}

/// Steps 2 to 5. Returns no_case if it has to begin anew.
inline std::size_t wait_for_one(std::span<select_case* const> cases, std::size_t first) {
  parker wait({"select"});
  time_point deadline = time_point::max();
  std::size_t timer = no_case;
  std::size_t chosen = no_case;
  std::size_t published = 0;
  publication last = publication::queued;
  const auto nth = [&](std::size_t n) { return (first + n) % cases.size(); };
  for (; published != cases.size() && last == publication::queued; ++published) {
    select_case& each = *cases[nth(published)];
    if (const time_point its = each.deadline(); its < deadline) {
      deadline = its;
      timer = nth(published);
    }
    last = each.publish(wait);
  }
  wake_reason reason = wake_reason::notified;
  if (last == publication::performed) {
    chosen = nth(published - 1);
  } else if (last != publication::retry) {
    reason = wait.park_until(deadline);
  }
  for (std::size_t n = 0; n != published; ++n) {
    cases[nth(n)]->withdraw();
  }
  if (reason == wake_reason::cancelled) {
    throw_cancelled();
  }
  if (reason == wake_reason::timed_out) {
    return timer;
  }
  for (std::size_t n = 0; n != published && chosen == no_case; ++n) {
    if (cases[nth(n)]->chosen()) {
      chosen = nth(n);
    }
  }
  return chosen;
}

/// `random_below(limit)` says where to begin.
template <class RandomBelow>
std::size_t select_until_done(std::span<select_case* const> cases, RandomBelow random_below) {
  enter_wait();
  for (;;) {
    const std::size_t first = random_below(cases.size());
    std::size_t chosen = attempt_one(cases, first);
    if (chosen == no_case) {
      chosen = wait_for_one(cases, first);
    }
    if (chosen != no_case) {
      return chosen;
    }
  }
}

}  // namespace aramid::inline v0::detail
