// What is known of a descriptor's readiness, for a kernel that tells only of changes (EPOLLET). The word holds events, as epoll names them,
// and a tick that grows with each telling.
//
//   Try:   R1. Read the word (acquire).
//          R2. The system call.
//          R3. If it found nothing there (-EAGAIN), or less than it asked a TCP connection for, the events that said so are cleared, unless
//              the tick has changed since R1.
//   Wait:  R4. Under the lock: if one of the events is set, try again; else enter the list.
//   Tell:  R5. Under the lock: set the events and raise the tick (release: what made the descriptor ready lies before it); whoever waits
//              in the list for one of them leaves it, and tries again.
//
// Why no change is missed. A change that comes after R2 is told by an R5 that comes after it. If that R5 comes before R3, the tick has
// changed and R3 clears nothing; if between R3 and R4, R4 finds the event; if after R4, it finds the waiter. A change that came before R2
// has been seen by R2. A telling may be old news, when R2 has taken what it tells of before R5: then one try finds nothing.
//
// Less than was asked for means that there was no more, but for an urgent byte, before which a read ends though more has come behind it. Whoever
// was told of one in R1 concludes nothing, and forgets it no more; if it is told after R1, the tick has changed, or R5 is still to come.
//
// The tick has 16 bits: R3 would have to sleep through exactly 65,536 tellings to be fooled, each of which needs the waiter woken, and the
// lock, in between; a fiber that is in R2 does not wait, so nobody else is told more often than that descriptor's peers send to it meanwhile.
#pragma once

#include <atomic>
#include <cstdint>

#include <aramid/detail/atomics.hpp>

namespace aramid::inline v0::detail {

template <class Atomics = std_atomics>
class readiness_word {
public:
  static constexpr std::uint32_t all_events = 0xffff;
  static constexpr std::uint32_t urgent = 0x2;  // EPOLLPRI

  /// R1.
  [[nodiscard]] std::uint32_t read() const noexcept { return word_.load(std::memory_order_acquire); }

  /// Whether what was read says that it is worth trying.
  [[nodiscard]] static constexpr bool has(std::uint32_t word, std::uint32_t events) noexcept { return (word & events) != 0; }

  /// R3. `seen` is what R1 read.
  void clear(std::uint32_t seen, std::uint32_t events) noexcept {
    std::uint32_t word = seen;
    // relaxed: nobody reads anything else because of it. It fails if the tick has changed, or for a while if somebody clears other events.
    while (!word_.compare_exchange_weak(word, word & ~events, std::memory_order_relaxed)) {
      if (((word ^ seen) & ~all_events) != 0) {
        return;
      }
    }
  }

  /// R5, under the lock.
  void tell(std::uint32_t events) noexcept {
    std::uint32_t word = word_.load(std::memory_order_relaxed);
    while (!word_.compare_exchange_weak(word, (word | events) + one_tick, std::memory_order_release, std::memory_order_relaxed)) {
    }
  }

  /// Nothing is known, so that everything is worth a try. Under the lock, when the descriptor is in no interest list: the kernel tells of what is
  /// ready when it enters one.
  void forget() noexcept {
    std::uint32_t word = word_.load(std::memory_order_relaxed);
    while (!word_.compare_exchange_weak(word, ((word & ~all_events) | unknown) + one_tick, std::memory_order_release, std::memory_order_relaxed)) {
    }
  }

private:
  static constexpr std::uint32_t one_tick = all_events + 1;
  static constexpr std::uint32_t unknown = all_events & ~urgent;

  typename Atomics::template atomic<std::uint32_t> word_{unknown};
};

}  // namespace aramid::inline v0::detail
