// What `select` asks of its cases. One selection:
//
//   1. Each case is tried, from a random one on: `attempt`. The first that can go on without waiting does, and is the one.
//   2. Else a wait begins, and each case publishes its node with the one token of that wait. If it finds under its lock that it could go on
//      after all, it ends the wait first (`parker::abandon`):
//        it could, and did           performed   it is the one
//        somebody has won the wait   lost        through a node that was published before: go on with 3
//        it could not any more       retry       whom it would have met has left meanwhile: back to 1
//   3. Park. Whoever claims the token has marked the node through which they came (wait_queue.hpp).
//   4. Every case withdraws its node: under the lock it is still queued, or has been taken out by somebody whose claim lost.
//   5. The case whose node is marked is the one; its operation has been done by whoever claimed.
//
// That the wait is ended before a case goes on makes the two sides of a meeting one step: no item moves while somebody else may
// make the selection end with another case.
#pragma once

#include <cstddef>
#include <span>

#include <aramid/detail/config.hpp>
#include <aramid/detail/wait_queue.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

enum class publication : unsigned char { queued, performed, lost, retry };

/// Lies on the stack of whoever selects.
class ARAMID_API select_case {
public:
  /// Goes on if that needs no waiting. Returns whether it did. What can throw does so here, before anything has been published.
  virtual bool attempt() = 0;
  /// Step 2, with the token of `wait`.
  virtual publication publish(parker& wait) noexcept = 0;
  /// Step 4.
  virtual void withdraw() noexcept = 0;
  /// Step 5.
  [[nodiscard]] virtual bool chosen() const noexcept = 0;
  /// When it goes on by itself.
  [[nodiscard]] virtual time_point deadline() const noexcept { return time_point::max(); }

protected:
  ~select_case() = default;
};

inline constexpr std::size_t no_case = static_cast<std::size_t>(-1);

/// Suspends: until one of `cases` can go on. Cancels: throws aramid::cancelled; nothing has been done.
/// Returns:  which one it was.
ARAMID_API std::size_t select_one(std::span<select_case* const> cases);

/// Returns no_case if none can go on without waiting.
ARAMID_API std::size_t try_select_one(std::span<select_case* const> cases);

/// Ends `wait` for a case that could go on, and calls `perform`, which returns whether it did.
template <class Perform>
publication perform_instead(parker& wait, Perform perform) {
  if (!wait.abandon()) {
    return publication::lost;
  }
  return perform() ? publication::performed : publication::retry;
}

}  // namespace aramid::inline v0::detail
