// Deadlines of suspended waits: a hierarchical timing wheel per worker (Varghese & Lauck, SOSP 1987).
//
// Nine levels of 64 slots; a slot of level 0 is one tick of 2^10 ns, a slot of level n is 64^n ticks. An entry lies at the
// level of the highest 6-bit digit in which its tick differs from `elapsed_`, so all entries of a level expire
// before any entry of the level above. Arm and disarm are a few instructions, without allocation:
// almost every deadline is disarmed before it expires.
//
// Ticks only sort; they do not quantise: an entry fires when its own deadline has passed, and `next()` is exact. However late the call
// that fires them, what is due fires tick by tick, and within a tick as it was armed: whatever fires comes from level 0.
//
// Owner of an entry: the waiter, in its stack frame. Everything but the bound (deadline_bound.hpp) is under `lock_`:
//
//   1. arm     by the fiber, on the wheel's own worker, before it suspends
//   2. fire    by that worker, or by a peer that helps: takes the entry out, that is its last touch of it, then claims the wait, and if
//              it wins delivers (park_word.hpp)
//   3. disarm  by the waiter, from wherever it woke, unless the timer has won. If it has, step 2 is done with the entry, and the
//              delivery (release) says so: no lock is needed. Else a step 2 that lost, or has yet to claim, may be under way: the lock
//              waits for it, and what is armed still is taken out
//
// So whoever fires never touches the frame of a waiter that runs on.
#pragma once

#include <array>
#include <cstdint>

#include <aramid/detail/spin_lock.hpp>
#include <aramid/driver.hpp>
#include <aramid/park.hpp>

#include "deadline_bound.hpp"

namespace aramid::inline v0::detail {

class timer_wheel;

struct timer_entry {
  time_point deadline;
  park_token token;
  timer_wheel* wheel = nullptr;   // the one it was armed on; the waiter only
  bool armed = false;             // under the wheel's lock, as is what follows
  timer_entry* next = nullptr;    // the slot's list
  timer_entry** link = nullptr;   // what points at this entry
  std::uint16_t place = 0;        // level * 64 + slot
};

class timer_wheel {
public:
  /// Arms `entry`, whose deadline and token are set.
  void arm(timer_entry& entry) noexcept;

  /// Afterwards the wheel does not know `entry`, fired or not. Any thread.
  static void disarm(timer_entry& entry) noexcept;

  /// Whether nothing is armed; a bound may linger. Any thread.
  [[nodiscard]] bool empty() const noexcept {
    return earliest_.get() == earliest_.none;
  }

  /// Whether `fire` may have something to do. Any thread.
  [[nodiscard]] bool due(time_point now) const noexcept {
    return ns(now) >= earliest_.get();
  }

  /// Wins the waits whose deadline has passed, into `batch`, in the order of the wheel's ticks, and sorts those that are nearer now. Any thread.
  void fire(time_point now, wake_batch& batch) noexcept;

  /// The exact next deadline, or time_point::max(). Any thread.
  /// Cheap only if `fire` was called not long before.
  [[nodiscard]] time_point next() noexcept;

  /// A bound: nothing expires before it. Any thread.
  [[nodiscard]] time_point not_before() const noexcept {
    return time_point(clock::duration(earliest_.get()));
  }

private:
  static constexpr unsigned tick_shift = 10, slot_bits = 6, slots = 64, levels = 9;

  static std::int64_t ns(time_point t) noexcept {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(t.time_since_epoch()).count();
  }

  void insert(timer_entry& entry) noexcept;
  void remove(timer_entry& entry) noexcept;
  timer_entry* detach_slot(unsigned place) noexcept;
  [[nodiscard]] std::int64_t earliest_in(int place) const noexcept;
  /// The place of the entries that expire first, or -1.
  [[nodiscard]] int first_place() const noexcept;

  spin_lock lock_;
  std::uint64_t elapsed_ = 0;  // tick up to which slots have been emptied
  std::array<std::uint64_t, levels> occupied_{};
  std::array<timer_entry*, std::size_t{levels} * slots> lists_{};
  deadline_bound<> earliest_;  // written under the lock, read without it
};

}  // namespace aramid::inline v0::detail
