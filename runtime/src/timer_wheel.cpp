#include "timer_wheel.hpp"

#include <algorithm>
#include <bit>
#include <mutex>
#include <utility>

namespace aramid::inline v0::detail {
namespace {

/// A slot's list, which grows at its head, the other way round. Links are left as they are.
timer_entry* oldest_first(timer_entry* newest) noexcept {
  timer_entry* turned = nullptr;
  while (newest != nullptr) {
    timer_entry* const older = std::exchange(newest->next, turned);
    turned = std::exchange(newest, older);
  }
  return turned;
}

}  // namespace

// 54 bits of ticks of 2^10 ns cover every time_point.
void timer_wheel::insert(timer_entry& entry) noexcept {
  const auto tick = std::max(static_cast<std::uint64_t>(std::max<std::int64_t>(ns(entry.deadline), 0)) >> tick_shift,
                             elapsed_);
  const std::uint64_t differs = (tick ^ elapsed_) | 1;
  const unsigned level = (63U - static_cast<unsigned>(std::countl_zero(differs))) / slot_bits;
  const auto slot = static_cast<unsigned>(tick >> (level * slot_bits)) % slots;
  const unsigned place = level * slots + slot;
  entry.place = static_cast<std::uint16_t>(place);
  timer_entry*& head = lists_[place];
  entry.next = head;
  entry.link = &head;
  if (head != nullptr) {
    head->link = &entry.next;
  }
  head = &entry;
  occupied_[level] |= std::uint64_t{1} << slot;
}

void timer_wheel::remove(timer_entry& entry) noexcept {
  *entry.link = entry.next;
  if (entry.next != nullptr) {
    entry.next->link = entry.link;
  } else if (lists_[entry.place] == nullptr) {
    occupied_[entry.place / slots] &= ~(std::uint64_t{1} << (entry.place % slots));
  }
  entry.armed = false;
}

timer_entry* timer_wheel::detach_slot(unsigned place) noexcept {
  occupied_[place / slots] &= ~(std::uint64_t{1} << (place % slots));
  return std::exchange(lists_[place], nullptr);
}

int timer_wheel::first_place() const noexcept {
  for (unsigned level = 0; level != levels; ++level) {
    if (occupied_[level] != 0) {
      // Slots before the current digit cannot be occupied: their ticks are past.
      return static_cast<int>(level * slots + static_cast<unsigned>(std::countr_zero(occupied_[level])));
    }
  }
  return -1;
}

void timer_wheel::arm(timer_entry& entry) noexcept {
  entry.wheel = this;
  const std::lock_guard lock(lock_);
  entry.armed = true;
  insert(entry);
  earliest_.lower_to(ns(entry.deadline));
}

void timer_wheel::disarm(timer_entry& entry) noexcept {
  timer_wheel& wheel = *entry.wheel;
  const std::lock_guard lock(wheel.lock_);
  if (entry.armed) {
    wheel.remove(entry);
  }
}

void timer_wheel::fire(time_point now, wake_batch& batch) noexcept {
  const std::lock_guard lock(lock_);
  const std::uint64_t now_tick = static_cast<std::uint64_t>(std::max<std::int64_t>(ns(now), 0)) >> tick_shift;
  for (;;) {
    const int place = first_place();
    if (place < 0) {
      break;
    }
    const auto level = static_cast<unsigned>(place) / slots;
    const std::uint64_t digit = static_cast<unsigned>(place) % slots;
    const unsigned shift = level * slot_bits;
    const std::uint64_t above = shift + slot_bits >= 64 ? 0 : elapsed_ >> (shift + slot_bits) << (shift + slot_bits);
    const std::uint64_t start = above | (digit << shift);
    if (start > now_tick) {
      break;
    }
    elapsed_ = std::max(elapsed_, start);
    timer_entry* list = oldest_first(detach_slot(static_cast<unsigned>(place)));
    bool kept = false;
    while (list != nullptr) {
      timer_entry& entry = *std::exchange(list, list->next);
      if (level == 0 && entry.deadline <= now) {
        entry.armed = false;
        batch.add(entry.token, wake_reason::timed_out);
      } else {
        insert(entry);  // levels down, where it has its place among the others, or back into the tick that is not over
        kept = kept || level == 0;
      }
    }
    if (kept) {
      break;
    }
  }
  // No slot that starts at or before now_tick is left unsorted, so the invariant of the levels holds.
  elapsed_ = std::max(elapsed_, now_tick);
  earliest_.set(earliest_in(first_place()));
}

time_point timer_wheel::next() noexcept {
  if (empty()) {
    return time_point::max();
  }
  const std::lock_guard lock(lock_);
  const std::int64_t earliest = earliest_in(first_place());
  earliest_.set(earliest);
  return earliest == earliest_.none ? time_point::max() : time_point(std::chrono::nanoseconds(earliest));
}

std::int64_t timer_wheel::earliest_in(int place) const noexcept {
  std::int64_t earliest = deadline_bound<>::none;
  if (place >= 0) {
    for (const timer_entry* each = lists_[static_cast<unsigned>(place)]; each != nullptr; each = each->next) {
      earliest = std::min(earliest, ns(each->deadline));
    }
  }
  return earliest;
}

}  // namespace aramid::inline v0::detail
