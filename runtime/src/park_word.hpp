// The word behind park and unpark: one wait's epoch, state and outcome in 64 bits.
//
//     63 ............ 6   5..4    3            2..0
//     epoch               reason  cancellable  state
//
//   closed          no wait is open; the waiter is running
//   open            a wait has begun; its token may be out; the waiter still runs
//   parked          the waiter's registers are saved: whoever claims it must make it run again
//   claimed         won while open; the claimer has not delivered, the waiter has not parked
//   claimed_parked  won, and the waiter is suspended: the claimer makes it run when it delivers
//   delivered       won and delivered before the waiter parked
//
//                   begin            claim              deliver
//        closed ───────────► open ───────────► claimed ───────────► delivered
//          ▲                   │                  │                     │ commit, or the look before the switch
//          │            commit │           commit │                     ▼
//          │                   ▼      claim       ▼                   closed
//          │                parked ────────► claimed_parked
//          └─────────────────────────────────────┘ deliver
//
// Who writes: the waiter alone does begin, commit, take_delivered and abandon; a claimer alone moves `open` and
// `parked` on (a CAS, so exactly one wins), and then only that claimer delivers. The loser of a claim never
// touches the word again.
//
// Steps of a wait, with the orders that carry it:
//   1. begin: relaxed store. The token reaches wakers through a lock or an atomic of the primitive, which orders it.
//   2. commit runs after the waiter's registers are saved, on the next context of its thread. CAS open→parked,
//      seq_cst. Its release half publishes the saved registers to the claimer (pairs with the acquire in `claim` and in
//      `deliver`); its seq_cst half is one side of a store-buffer pair with cancellation (step 4).
//   3. claim: CAS, acquire. deliver: CAS claimed→delivered, release: what the winner handed over happens
//      before the waiter's acquire in commit or take_delivered. When the waiter is parked the word is closed by a
//      plain release store and the scheduler's queue (or the futex) carries the order.
//   4. A canceller stores its request (seq_cst) and then claims if it sees `parked`; the waiter commits (seq_cst) and then
//      looks at the request (seq_cst). One of the two must see the other.
//
// Epochs never repeat for one word, and the memory of words is never returned, so a token that is kept too long
// can only fail. (58 bits at a wait every nanosecond last nine years.)
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <optional>

#include <aramid/detail/atomics.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

template <class Atomics = std_atomics>
class park_word {
public:
  /// What commit found.
  enum class committed : std::uint8_t { parked, delivered };

  /// Opens a wait. Only the waiter, only while closed.
  std::uint64_t begin(bool may_cancel) noexcept {
    const std::uint64_t epoch = (word_.load(std::memory_order_relaxed) & epoch_mask) + epoch_one;
    word_.store(epoch | (may_cancel ? cancellable_bit : 0) | open, std::memory_order_relaxed);
    return epoch;
  }

  /// Tries to win the wait `epoch` for `reason`.
  bool claim(std::uint64_t epoch, wake_reason reason) noexcept {
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    while ((word & epoch_mask) == epoch) {
      const std::uint64_t next = claimed_from(word, reason);
      if (next == 0) {
        return false;
      }
      // acquire: pairs with the release half of commit, so that the saved registers are seen.
      if (word_.compare_exchange_weak(word, next, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  /// Tries to win whatever wait is open now, if a cancellation may. Returns its epoch, or 0.
  std::uint64_t claim_cancellable() noexcept {
    // seq_cst: step 4; pairs with commit.
    std::uint64_t word = word_.load(std::memory_order_seq_cst);
    while ((word & cancellable_bit) != 0) {
      const std::uint64_t next = claimed_from(word, wake_reason::cancelled);
      if (next == 0) {
        return 0;
      }
      if (word_.compare_exchange_weak(word, next, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
        return word & epoch_mask;
      }
    }
    return 0;
  }

  /// Ends a wait the caller has claimed.
  /// Returns: true if the waiter is suspended and the caller must make it run.
  bool deliver() noexcept {
    // acquire, here and where the CAS fails: pairs with the release half of a commit that came after the claim.
    std::uint64_t word = word_.load(std::memory_order_acquire);
    if ((word & state_mask) == claimed) {
      // release: pairs with the waiter's acquire in commit and take_delivered.
      if (word_.compare_exchange_strong(word, with_state(word, delivered),
                                        std::memory_order_release, std::memory_order_acquire)) {
        return false;
      }
    }
    // claimed_parked: nobody else writes the word now. release: pairs with a thread's acquire in `must_sleep`.
    word_.store(with_state(word, closed), std::memory_order_release);
    return true;
  }

  /// The wait that is open, as seen once.
  class wait {
  public:
    [[nodiscard]] std::uint64_t epoch() const noexcept { return word_ & epoch_mask; }
    [[nodiscard]] bool cancellable() const noexcept { return (word_ & cancellable_bit) != 0; }

  private:
    friend class park_word;
    explicit wait(std::uint64_t word) noexcept : word_(word) {}
    std::uint64_t word_;
  };
  [[nodiscard]] wait wait_in_hand() const noexcept { return wait(word_.load(std::memory_order_relaxed)); }

  /// Publishes that the waiter is suspended. `delivered` means it must run on instead (and the word is closed).
  committed commit() noexcept { return commit(wait_in_hand()); }
  committed commit(wait seen) noexcept {
    std::uint64_t word = seen.word_;
    for (;;) {
      const std::uint64_t state = word & state_mask;
      if (state == delivered) {
        // The load that saw `delivered` may have been relaxed: acquire what was delivered.
        (void)word_.load(std::memory_order_acquire);
        word_.store(with_state(word, closed), std::memory_order_relaxed);
        return committed::delivered;
      }
      const std::uint64_t next = with_state(word, state == open ? parked_state : claimed_parked);
      if (word_.compare_exchange_weak(word, next, std::memory_order_seq_cst,
                                      std::memory_order_relaxed)) {
        return committed::parked;
      }
    }
  }

  /// The waiter's look before it goes to the trouble of suspending: closes the word if the wait is over.
  bool take_delivered() noexcept {
    // acquire: pairs with deliver.
    const std::uint64_t word = word_.load(std::memory_order_acquire);
    if ((word & state_mask) != delivered) {
      return false;
    }
    word_.store(with_state(word, closed), std::memory_order_relaxed);
    return true;
  }

  /// Closes an open wait. False if somebody has claimed it.
  bool abandon() noexcept {
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    return (word & state_mask) == open &&
           word_.compare_exchange_strong(word, with_state(word, closed), std::memory_order_relaxed,
                                         std::memory_order_relaxed);
  }

  /// Who won, once the wait is closed again.
  [[nodiscard]] wake_reason reason() const noexcept {
    return static_cast<wake_reason>(
        (word_.load(std::memory_order_relaxed) >> reason_shift) & 3U);
  }

  /// The waiter's second thought about who won; only while closed.
  void set_reason(wake_reason reason) noexcept {
    const std::uint64_t word = word_.load(std::memory_order_relaxed) & ~(std::uint64_t{3} << reason_shift);
    word_.store(word | (static_cast<std::uint64_t>(reason) << reason_shift), std::memory_order_relaxed);
  }

  /// The epochs go on behind `epoch`, which is one of this word or of others. Nobody but holders of old tokens may know the word.
  void restart(std::uint64_t epoch) noexcept { word_.store(epoch | closed, std::memory_order_relaxed); }

  /// The wait that is open, or was last. The waiter only.
  [[nodiscard]] std::uint64_t epoch() const noexcept {
    return word_.load(std::memory_order_relaxed) & epoch_mask;
  }

  /// Whether the wait that is open may be cancelled. The waiter only.
  [[nodiscard]] bool cancellable() const noexcept {
    return (word_.load(std::memory_order_relaxed) & cancellable_bit) != 0;
  }

  /// What a suspended thread sleeps on: the low half of the word, and the value it has while that thread must sleep.
  /// False if it need not.
  [[nodiscard]] const void* futex_address() const noexcept {
    return reinterpret_cast<const unsigned char*>(&word_) + (std::endian::native == std::endian::big ? 4 : 0);
  }
  [[nodiscard]] bool must_sleep(std::uint32_t& value) const noexcept {
    // acquire: pairs with deliver's closing store.
    const std::uint64_t word = word_.load(std::memory_order_acquire);
    value = static_cast<std::uint32_t>(word);
    return (word & state_mask) == parked_state || (word & state_mask) == claimed_parked;
  }

  /// The word, if the waiter is suspended and nobody has claimed it: equal ones mean that it has not moved in between. Any thread.
  [[nodiscard]] std::optional<std::uint64_t> parked() const noexcept {
    // acquire: pairs with the release half of commit.
    const std::uint64_t word = word_.load(std::memory_order_acquire);
    return (word & state_mask) == parked_state ? std::optional(word) : std::nullopt;
  }

  /// For debuggers: the state, and what it is while the waiter is suspended and unclaimed.
  [[nodiscard]] static constexpr std::uint64_t state_bits() noexcept { return state_mask; }
  [[nodiscard]] static constexpr std::uint64_t parked_bits() noexcept { return parked_state; }

private:
  static constexpr std::uint64_t closed = 0, open = 1, parked_state = 2, claimed = 3, claimed_parked = 4,
                                 delivered = 5;
  static constexpr std::uint64_t state_mask = 7;
  static constexpr std::uint64_t cancellable_bit = 8;
  static constexpr unsigned reason_shift = 4;
  static constexpr std::uint64_t epoch_one = 64;
  static constexpr std::uint64_t epoch_mask = ~std::uint64_t{63};

  static constexpr std::uint64_t with_state(std::uint64_t word, std::uint64_t state) noexcept {
    return (word & ~state_mask) | state;
  }

  /// The word after a claim, or 0 if it cannot be claimed.
  static constexpr std::uint64_t claimed_from(std::uint64_t word, wake_reason reason) noexcept {
    const std::uint64_t state = word & state_mask;
    if (state != open && state != parked_state) {
      return 0;
    }
    return with_state(word, state == open ? claimed : claimed_parked) |
           (static_cast<std::uint64_t>(reason) << reason_shift);
  }

  typename Atomics::template atomic<std::uint64_t> word_{0};
};

}  // namespace aramid::inline v0::detail
