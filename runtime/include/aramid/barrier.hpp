// A barrier, in std's shape, for fibers and threads alike: so many meet again and again, and none goes on before all have come.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include <aramid/detail/atomics.hpp>
#include <aramid/detail/broadcast.hpp>
#include <aramid/detail/config.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

namespace detail {

/// What does not depend on the completion.
class ARAMID_API barrier_base {
public:
  /// Says which phase an arrival was for.
  class [[nodiscard]] arrival_token {
  public:
    arrival_token(arrival_token&&) noexcept = default;
    arrival_token& operator=(arrival_token&&) noexcept = default;

  private:
    friend class barrier_base;
    explicit arrival_token(std::uint64_t phase) noexcept : phase_(phase) {}
    std::uint64_t phase_;
  };

  barrier_base(const barrier_base&) = delete;
  barrier_base& operator=(const barrier_base&) = delete;

  [[nodiscard]] static constexpr std::ptrdiff_t max() noexcept { return std::numeric_limits<std::ptrdiff_t>::max(); }

  /// Waits until the phase of `token` has been completed.
  /// Suspends: until then.
  /// Cancels:  throws aramid::cancelled. The arrival still counts, and `token` is still good for another wait.
  /// Ordering: everything before each arrival, and the completion, happen before the return.
  void wait(arrival_token&& token) {
    enter_wait();
    wait_for_phase(token, withdrawal::no);
  }

protected:
  explicit barrier_base(std::ptrdiff_t expected);
  ~barrier_base() = default;

  struct arrival {
    arrival_token token;
    bool is_last;  // the caller has to run the completion and begin the next phase
  };

  arrival arrive_for(std::ptrdiff_t n, std::ptrdiff_t dropped) noexcept;
  void begin_next_phase() noexcept;
  enum class withdrawal : bool { no, yes };
  /// With `withdrawal::yes`, a wait that is cancelled takes its arrival back.
  void wait_for_phase(const arrival_token& token, withdrawal when_cancelled);

private:
  // All three are written under the lock of waiters_.
  atomic<std::uint64_t> phase_{0};
  std::ptrdiff_t expected_;  // arrivals that each coming phase waits for
  std::ptrdiff_t pending_;   // those that this phase still waits for
  broadcast waiters_;
};

struct no_completion {
  void operator()() const noexcept {}
};

}  // namespace detail

/// `completion` is called by the last to arrive, before anybody goes on.
/// Owns:    the completion; it may be destroyed as soon as nobody waits any more.
/// Threads: any, fibers and others.
template <class CompletionFunction = detail::no_completion>
class barrier : public detail::barrier_base {
  static_assert(std::is_nothrow_invocable_v<CompletionFunction&>, "the completion of a barrier must not throw");

public:
  /// Throws: std::invalid_argument if `expected` is negative.
  explicit barrier(std::ptrdiff_t expected, CompletionFunction completion = CompletionFunction())
      : barrier_base(expected), completion_(std::move(completion)) {}

  /// Arrives for `n` at this phase. More arrivals than the phase waits for end the program.
  /// Suspends: never, unless the completion does.
  [[nodiscard]] arrival_token arrive(std::ptrdiff_t n = 1) {
    arrival mine = arrive_for(n, 0);
    complete_if_last(mine);
    return std::move(mine.token);
  }

  /// Arrives, and waits for the others.
  /// Suspends: until all have arrived.
  /// Cancels:  throws aramid::cancelled, and the caller has not arrived: the others wait for it, unless it says that it will not
  ///           come again (`arrive_and_drop`). Once the last has arrived a cancellation comes too late.
  void arrive_and_wait() {
    enter_wait();
    arrival mine = arrive_for(1, 0);
    complete_if_last(mine);
    wait_for_phase(mine.token, withdrawal::yes);
  }

  /// Arrives at this phase, and is not waited for in those to come. Suspends: as `arrive`.
  void arrive_and_drop() { complete_if_last(arrive_for(1, 1)); }

private:
  void complete_if_last(const arrival& mine) {
    if (mine.is_last) {
      completion_();
      begin_next_phase();
    }
  }

  CompletionFunction completion_;
};

}  // namespace aramid::inline v0
