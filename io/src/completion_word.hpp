// Who waits for an operation and whether it is done, in one word: the epoch of the wait that the completion shall end, or `done`. These
// are steps 1 and 4 to 6 of operation.hpp.
//
//   fiber    F1. expect: the epoch of its wait; then it submits, and parks
//            F2. is_done: whoever ended the wait, the result is there
//            F3. else expect_instead: the epoch of another wait, which it parks in; if that fails it is done. It may do so again and again
//   reaper   R1. expected: an epoch, and claims the wait of it
//            R2. won: the fiber stands still until the wait is delivered, so the word is the reaper's. finish_claimed, a plain store; what
//                delivers the wait publishes it, and the result
//            R3. lost: somebody else has ended that wait, and the fiber is on its way to F2 or in F3. finish, one exchange: `done` goes in, and
//                out comes an epoch whose wait is over, so that F2 or F3 finds `done`; or that of the wait the fiber is in now, which the
//                reaper ends
//
// So a completion that nothing has disturbed costs the claim of the wait and no exchange of its own. Whichever the reaper does is its last
// touch of the operation: the fiber may leave behind it.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

#include <aramid/detail/atomics.hpp>

namespace aramid::inline v0::detail {

template <class Atomics = std_atomics>
class completion_word {
public:
  /// F1. relaxed: how the operation gets to the reaper orders it.
  void expect(std::uint64_t epoch) noexcept { word_.store(epoch, std::memory_order_relaxed); }

  /// F2. For the fiber, behind the end of its wait: then the result is there too.
  /// acquire: pairs with `finish`; what `finish_claimed` stored comes with the end of the wait.
  [[nodiscard]] bool is_done() const noexcept { return word_.load(std::memory_order_acquire) == done; }

  /// F3. Returns: false if the operation is done.
  [[nodiscard]] bool expect_instead(std::uint64_t epoch) noexcept {
    // acquire, here and on failure, as in `is_done`: one that is done already is read from here too. release: pairs with the acquire in
    // `finish`, for the second wait.
    std::uint64_t word = word_.load(std::memory_order_acquire);
    return word != done && word_.compare_exchange_strong(word, epoch, std::memory_order_release, std::memory_order_acquire);
  }

  /// R1. relaxed: an epoch of before only loses its claim.
  [[nodiscard]] std::uint64_t expected() const noexcept { return word_.load(std::memory_order_relaxed); }

  /// R2. relaxed: the delivery publishes it.
  void finish_claimed() noexcept { word_.store(done, std::memory_order_relaxed); }

  /// R3. Returns: the epoch of the wait to end.
  /// release: publishes the result to `is_done` and `expect_instead`; acquire: pairs with `expect_instead`.
  [[nodiscard]] std::uint64_t finish() noexcept { return word_.exchange(done, std::memory_order_acq_rel); }

private:
  static constexpr std::uint64_t done = std::numeric_limits<std::uint64_t>::max();

  typename Atomics::template atomic<std::uint64_t> word_{0};
};

}  // namespace aramid::inline v0::detail
