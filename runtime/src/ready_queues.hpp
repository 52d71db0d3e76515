// The runnable fibers of one worker that its peers may take, behind one steal_lock:
//
//   slot_    the fiber woken last: it runs next, while what it was handed is still in the cache. A peer takes it only if it has
//            lain there for a while (worker_idle.cpp says how long)
//   woken_   fibers that were woken or have yielded: first in, first out. A peer takes the older half; a single one, which is about to
//            run where its data is, only if there are no fresh ones
//   fresh_   fibers that have not started. The owner takes the newest, so that a tree of fibers runs depth first on few stacks
//            (DESIGN §4 has the figures); a peer takes the older half, which are the largest pieces of such a tree
//
// The owner puts into the slot with the lock, because that may displace; into the queues without.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "steal_lock.hpp"
#include "work_queue.hpp"

namespace aramid::inline v0::detail {

template <class T, class Atomics = asymmetric_atomics, std::size_t Capacity = 256>
class ready_queues {
public:
  /// The most a peer takes at once: more would only move the imbalance.
  static constexpr std::size_t steal_limit = 128;

  using queue = work_queue<T, Atomics, Capacity>;

  // --- the owner ---------------------------------------------------------------------------------------------------

  /// Throws std::bad_alloc and is unchanged if there is no memory.
  void push_woken(T* item) { push(woken_, item); }
  void push_fresh(T* item) { push(fresh_, item); }

  /// False, and nothing done, if the queue has to grow first.
  bool try_push_woken(T* item) noexcept { return woken_.try_push(item); }

  /// Puts `item` into the slot if that is empty.
  bool try_put_next(T* item) noexcept {
    // Nobody else fills the slot: one that is seen empty stays so.
    if (slot_.load(std::memory_order_relaxed) != nullptr) {
      return false;
    }
    // release: pairs with a thief's acquire.
    slot_.store(item, std::memory_order_release);
    return true;
  }

  /// Puts `item` into the slot and returns what it displaces, which is then the caller's to queue.
  T* put_next(T* item) noexcept {
    if (try_put_next(item)) {
      return nullptr;
    }
    lock_.enter();
    T* const displaced = slot_.load(std::memory_order_relaxed);
    slot_.store(item, std::memory_order_relaxed);  // leave releases
    lock_.leave();
    return displaced;
  }

  [[nodiscard]] bool has_next() const noexcept {
    return slot_.load(std::memory_order_relaxed) != nullptr;
  }

  /// What lies in the slot. nullptr if it has been stolen, even after `has_next`.
  T* take_next() noexcept {
    lock_.enter();
    T* const item = slot_.load(std::memory_order_relaxed);
    slot_.store(nullptr, std::memory_order_relaxed);
    lock_.leave();
    return item;
  }

  T* pop_woken() noexcept {
    std::size_t left = 0;
    return pop_woken(left);
  }
  /// The oldest of the woken ones, or nullptr; and how many it has left behind.
  T* pop_woken(std::size_t& left) noexcept {
    lock_.enter();
    T* const item = woken_.pop_oldest(left);
    lock_.leave();
    return item;
  }

  // The same for an owner in a hurry: also nullptr if it would take more than a few instructions.
  T* try_take_next() noexcept {
    T* item = nullptr;
    if (ARAMID_LIKELY(lock_.try_enter_as_owner())) {
      item = slot_.load(std::memory_order_relaxed);
      slot_.store(nullptr, std::memory_order_relaxed);
    }
    lock_.leave();
    return item;
  }
  T* try_pop_woken(std::size_t& left) noexcept {
    T* item = nullptr;
    if (ARAMID_LIKELY(lock_.try_enter_as_owner())) {
      item = woken_.pop_oldest(left);
    }
    lock_.leave();
    return item;
  }

  T* pop_newest_fresh() noexcept { return pop_fresh(&queue::pop_newest); }
  /// For fairness: newest first alone could leave one for ever.
  T* pop_oldest_fresh() noexcept { return pop_fresh(&queue::pop_oldest); }

  // To look at only.
  [[nodiscard]] const queue& woken() const noexcept { return woken_; }
  [[nodiscard]] const queue& fresh() const noexcept { return fresh_; }

  // --- a peer ------------------------------------------------------------------------------------------------------

  /// Takes the older half of the woken ones, or of the fresh ones: returns the first and adds the others to
  /// `into`, the caller's own. nullptr if there was nothing or somebody was in the way.
  T* steal(ready_queues& into) noexcept {
    if (size() == 0 || !lock_.try_enter()) {
      return nullptr;
    }
    T* taken[steal_limit];
    const bool fresh = fresh_.size() != 0 && woken_.size() < 2;
    queue& from = fresh ? fresh_ : woken_;
    queue& to = fresh ? into.fresh_ : into.woken_;
    // Room there is: who steals has run out. The queues of a model are small.
    const std::size_t wanted = std::min({(from.size() + 1) / 2, steal_limit, to.room() + 1});
    std::size_t count = 0;
    while (count != wanted && (taken[count] = from.pop_oldest()) != nullptr) {
      ++count;
    }
    lock_.exit();
    for (std::size_t i = 1; i < count; ++i) {
      (void)to.try_push(taken[i]);
    }
    return count != 0 ? taken[0] : nullptr;
  }

  /// What lies in the slot now. Never to be dereferenced: the owner may take it meanwhile.
  [[nodiscard]] T* peek_next() const noexcept { return slot_.load(std::memory_order_relaxed); }

  /// Takes `seen` out of the slot if it still (or again) lies there.
  bool steal_next(T* seen) noexcept {
    if (!lock_.try_enter()) {
      return false;
    }
    const bool there = slot_.load(std::memory_order_acquire) == seen;
    if (there) {
      slot_.store(nullptr, std::memory_order_relaxed);
    }
    lock_.exit();
    return there;
  }

  // --- any thread --------------------------------------------------------------------------------------------------

  /// How many lie in the two queues.
  [[nodiscard]] std::size_t size() const noexcept { return woken_.size() + fresh_.size(); }

private:
  void push(queue& into, T* item) {
    while (!into.try_push(item)) {
      lock_.enter();
      try {
        into.grow();
      } catch (...) {
        lock_.leave();
        throw;
      }
      lock_.leave();
    }
  }

  T* pop_fresh(T* (queue::*pop)()) noexcept {
    if (fresh_.size() == 0) {
      return nullptr;
    }
    lock_.enter();
    T* const item = (fresh_.*pop)();
    lock_.leave();
    return item;
  }

  steal_lock<Atomics> lock_;
  typename Atomics::template atomic<T*> slot_{
      nullptr};  // filled by the owner; emptied by who holds the lock
  queue woken_;
  queue fresh_;
};

}  // namespace aramid::inline v0::detail
