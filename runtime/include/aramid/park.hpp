// The wait primitive. Every blocking call in aramid (mutexes, channels, joins, sleeps, I/O) is built
// on it, and so can yours be. One wait is: begin, publish a token, park.
//
//     parker wait;                      // 1. begins a wait of the calling fiber or thread
//     queue.push({wait.token()});       // 2. publish the token, under whatever lock guards `queue`
//     switch (wait.park()) { … }        // 3. suspend until somebody wins the token
//
// and a waker is: take the token out of where it was published, then `unpark(token)`. Of all those who
// try (wakers, a cancellation, a deadline) exactly one wins; the others are told so and must
// not touch the waiter again. A waker that hands something over claims first and delivers after:
//
//     if (claim(token)) { *slot = std::move(item); deliver(token); }
//
// A token never dangles: it names a waiter, whose memory stays, and one wait of it, by epoch. Waking a wait
// that has ended is a harmless `false`.
//
// Works from a fiber (the fiber suspends) and from any other thread (it sleeps on a futex).
// The protocol of the word behind it is in runtime/src/park_word.hpp.
#pragma once

#include <chrono>
#include <cstdint>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0 {

using clock = std::chrono::steady_clock;
using time_point = clock::time_point;

/// Who won a wait.
enum class wake_reason : std::uint8_t {
  notified,   ///< a waker: what was waited for is there
  cancelled,  ///< a cancellation that covers the waiter; what was waited for may still come later
  timed_out,  ///< the deadline given to `park_until`
};

/// Whether a cancellation may end a wait. `no` is for waits that law 1 shields: destructors, close,
/// unlock, the re-lock of a condition variable, and the wait for the kernel to let go of a buffer.
enum class cancellable : bool { no, yes };

/// What a wait is for, for people who look at a dump of all fibers: the name of the operation, which must stay where it is, and what
/// it is done to.
struct wait_note {
  const char* operation = "a wait";
  const void* object = nullptr;
};

namespace detail {
class waiter;
}

/// Names one wait of one waiter. Trivially copyable; valid for ever, useful until that wait ends.
struct park_token {
  detail::waiter* who = nullptr;
  std::uint64_t epoch = 0;

  explicit operator bool() const noexcept { return who != nullptr; }
  friend bool operator==(const park_token&, const park_token&) = default;
};

/// One wait of the calling fiber or thread. At most one is open per waiter at a time.
class ARAMID_API parker {
public:
  /// Begins a wait: from here on its token can be won.
  /// Suspends: never. Does not look at cancellation either: see `enter_wait`.
  /// Threads:  used by the fiber or thread that made it, only.
  explicit parker(cancellable may_cancel = cancellable::yes, wait_note note = {}) noexcept;

  /// As above, for a wait that a cancellation may end.
  explicit parker(wait_note note) noexcept : parker(cancellable::yes, note) {}

  /// Closes the wait if `park` was never called; whoever claimed it has then been waited for.
  ~parker() {
    if (ARAMID_UNLIKELY(open_) && !abandon()) {
      (void)park();
    }
  }

  parker(const parker&) = delete;
  parker& operator=(const parker&) = delete;

  /// The name of this wait, to be published to wakers.
  [[nodiscard]] park_token token() const noexcept { return token_; }

  /// Waits until the token is won. Call once.
  /// Suspends: until a waker or a cancellation wins; returns at once if one has already won.
  /// Cancels:  returns `cancelled`; the caller takes back what it published, then throws
  ///           (`throw_cancelled`) or finishes its clean-up first. Never throws itself.
  /// Ordering: what the winner did before `deliver` happens before the return.
  wake_reason park() noexcept;

  /// As `park`, but no longer than until `deadline`, in `clock`'s time.
  wake_reason park_until(time_point deadline) noexcept;

  /// Ends the wait without parking.
  /// Returns: true if nobody had won; false if somebody has: then `park` must be called for the outcome.
  [[nodiscard]] bool abandon() noexcept;

private:
  park_token token_;
  bool open_ = true;
};

/// Tries to win the wait that `token` names. The winner, and only the winner, must call `deliver`.
/// Suspends: never. Threads: any.
[[nodiscard]] ARAMID_API bool claim(park_token token) noexcept;

/// Ends a wait that the caller has claimed: its waiter runs again. The waiter may be gone on return.
/// Ordering: everything before it happens before the waiter's return from `park`.
ARAMID_API void deliver(park_token token) noexcept;

/// Claims and delivers in one.
/// Returns: true if this call is what ends the wait.
inline bool unpark(park_token token) noexcept {
  if (!claim(token)) {
    return false;
  }
  deliver(token);
  return true;
}

/// What every function that may suspend does first, before any effect: it throws if the caller is
/// cancelled, and gives way when its waits have been ready for too long in a row (laws 1 and 7).
/// Suspends: only to give way to others. Cancels: throws aramid::cancelled.
/// Costs:    about two nanoseconds. On a thread that is no fiber it only looks at deadline scopes.
ARAMID_API void enter_wait();

/// Throws aramid::cancelled. For use after `park` returned `wake_reason::cancelled`.
[[noreturn]] ARAMID_API void throw_cancelled();

}  // namespace aramid::inline v0
