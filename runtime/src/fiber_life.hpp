// How long a control block lives, and who ends it. Those who need it are its *holders*:
//
//   runtime   from birth until the fiber's end has been announced
//   handle    from birth until the handle is given up
//   group     while the group keeps the error of a child that failed
//
// Whoever leaves last takes the block back to the pool. All of this is under one lock, which the fiber's end and whoever joins
// need anyway, for the list of observers: so a life costs no read-modify-write of its own.
//
//   1. birth    state = alive, held by runtime and handle (release: pairs with 5)
//   2. end      under the lock: alive → done (release: pairs with 3), the observers are taken over, and in the same visit the runtime
//               leaves, unless it still needs the block
//   3. leave    state (acquire): if the caller is the only holder left, and the lock is free, it is the last: nobody else will touch
//               the block. Whoever left before did so inside the lock, and by then the caller sees it locked, or let go of
//   4.          else under the lock
//   5. walk     who looks for fibers in the pool (shutdown, dumps) is no holder: under the lock it looks whether the fiber is alive, and
//               as long as it keeps the lock, the fiber cannot end
//
// The memory of blocks is never given back while anybody may walk, so a walker may find the lock of a block that is in the
// pool, or lives another life by now; it touches nothing else unless it finds it alive.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <aramid/detail/atomics.hpp>
#include <aramid/detail/spin_lock.hpp>

namespace aramid::inline v0::detail {

template <class Atomics = std_atomics, class Lock = spin_lock>
class fiber_life {
public:
  enum class holder : std::uint8_t { runtime = 1, handle = 2, group = 4 };

  void lock() noexcept { lock_.lock(); }
  void unlock() noexcept { lock_.unlock(); }

  /// Step 1. Nobody else knows the block yet, but walkers.
  void begin() noexcept {
    state_.store(alive | bit(holder::runtime) | bit(holder::handle), std::memory_order_release);
  }

  /// Whether the fiber has ended: then its outcome, result and error are set.
  [[nodiscard]] bool done() const noexcept { return (state_.load(std::memory_order_acquire) & done_bit) != 0; }

  /// Whether it has begun and not ended. Under the lock it stays so.
  [[nodiscard]] bool is_alive() const noexcept { return (state_.load(std::memory_order_acquire) & alive) != 0; }

  /// Step 2, under the lock. The runtime leaves too unless `stay`.
  /// Returns: whether the handle is still there; it will then drop the result.
  bool end(bool stay) noexcept {
    const std::uint8_t state = state_.load(std::memory_order_relaxed);
    const std::uint8_t holders = (stay ? state : without(state, holder::runtime)) & all;
    state_.store(holders | done_bit, std::memory_order_release);
    return (state & bit(holder::handle)) != 0;
  }

  /// Another holder, under the lock, while there is one.
  void add(holder who) noexcept {
    state_.store(state_.load(std::memory_order_relaxed) | bit(who), std::memory_order_relaxed);
  }

  /// Steps 3 and 4. `on_runtime_left` is called under the lock if but for the runtime nobody stays.
  /// Returns: whether `who` was the last, and has to take the block back.
  template <class Fn>
  [[nodiscard]] bool leave(holder who, Fn&& on_runtime_left) noexcept {
    if (is_last(who)) {
      return true;
    }
    lock_.lock();
    const std::uint8_t left = without(state_.load(std::memory_order_relaxed), who);
    if ((left & all) == bit(holder::runtime)) {
      on_runtime_left();
    }
    // release: pairs with the acquire of whoever is last.
    state_.store(left, std::memory_order_release);
    lock_.unlock();
    return (left & all) == 0;
  }

  [[nodiscard]] bool leave(holder who) noexcept {
    return leave(who, [] {});
  }

  /// The handle leaves a fiber that has not ended. Returns false, and does nothing, if it has.
  [[nodiscard]] bool leave_early() noexcept {
    lock_.lock();
    const std::uint8_t state = state_.load(std::memory_order_relaxed);
    const bool early = (state & done_bit) == 0;
    if (early) {
      state_.store(without(state, holder::handle), std::memory_order_relaxed);
    }
    lock_.unlock();
    return early;
  }

  /// The block goes back to the pool.
  void clear() noexcept { state_.store(0, std::memory_order_relaxed); }

  /// For debuggers: where the state is, and its bit that says that the fiber is alive.
  [[nodiscard]] static constexpr std::size_t state_offset() noexcept { return sizeof(Lock); }
  [[nodiscard]] static constexpr std::uint8_t alive_bit() noexcept { return alive; }

private:
  static constexpr std::uint8_t alive = 8, done_bit = 16, all = 7;

  static constexpr std::uint8_t bit(holder who) noexcept { return static_cast<std::uint8_t>(who); }

  static constexpr std::uint8_t without(std::uint8_t state, holder who) noexcept {
    return static_cast<std::uint8_t>(state & ~static_cast<unsigned>(bit(who)));
  }

  [[nodiscard]] bool is_last(holder who) const noexcept {
    return (state_.load(std::memory_order_acquire) & all) == bit(who) && lock_.is_free();
  }

  Lock lock_;
  typename Atomics::template atomic<std::uint8_t> state_{0};  // written under the lock, but for birth and `clear`
};

}  // namespace aramid::inline v0::detail
