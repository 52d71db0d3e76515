// Who walks over the slabs of a pool while others add slabs, and give the memory of idle ones back to the kernel. A slab stays in the
// list for as long as the process lives; only its memory comes and goes.
//
//   add      A1. under the pool's lock, when all blocks are made: puts the slab in front (release; pairs with W2)
//   walk     W1. under the pool's lock: walkers_ + 1
//            W2. reads the list (acquire), and goes through the slabs without the lock. One whose memory is gone it leaves out. Of a
//                block it believes nothing until it has seen it alive (step 5 of fiber_life.hpp); until then it reads what is
//                zero in memory that has been given back, or its lock
//            W3. under the pool's lock: walkers_ - 1
//   return   R1. under the pool's lock, when the last block of the slab has come back: if nobody walks, the slab is nobody's
//            R2. without the lock: gives its memory back
//            R3. under the pool's lock: marks the slab, and lists it as one to be revived
//   revive   V1. under the pool's lock: makes its blocks usable, and takes the mark off
//
// Why not while anybody walks (R1): a walker that has seen a block alive locks it, and may find that the fiber has ended. If the lock's
// memory went to zero under it, its unlock could meet the lock of a later life, and let two in.
//
// A walk that begins between R1 and R3 does not see the mark. It finds no block alive there: all ended before R1. Nor is any born
// before V1, and then W2's look at its state (acquire) sees all of V1.
//
// The mark is relaxed. It saves the walker from bringing the memory back, page by page, to find zeros; and to miss it does no harm. It is
// not missed but by a walk during the slab's return, and not seen but where no fiber is that was born before the walk: a fiber's birth
// comes after the revival of its slab.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>

#include <aramid/detail/atomics.hpp>

namespace aramid::inline v0::detail {

/// Of one slab.
template <class Atomics = std_atomics>
class returned_mark {
public:
  /// Under the pool's lock, as is the next: R3.
  void set() noexcept { returned_.store(true, std::memory_order_relaxed); }
  /// V1.
  void clear() noexcept { returned_.store(false, std::memory_order_relaxed); }

  [[nodiscard]] bool is_set() const noexcept { return returned_.load(std::memory_order_relaxed); }

private:
  typename Atomics::template atomic<bool> returned_{false};
};

/// Slabs are linked through `older`, which is the list's.
template <class Slab, class Atomics = std_atomics>
class slab_walk {
public:
  /// A1.
  void add(Slab& made) noexcept {
    made.older = newest_.load(std::memory_order_relaxed);
    newest_.store(&made, std::memory_order_release);
  }

  /// R1, under the pool's lock.
  [[nodiscard]] bool goes_on() const noexcept { return walkers_ != 0; }

  /// W1–W3. `lock` is the pool's.
  template <class Lock, class Visit>
  void walk(Lock& lock, Visit visit) noexcept {
    {
      const std::lock_guard locked(lock);
      ++walkers_;
    }
    for (Slab* each = newest_.load(std::memory_order_acquire); each != nullptr; each = each->older) {
      visit(*each);
    }
    const std::lock_guard locked(lock);
    --walkers_;
  }

  /// For debuggers: where the list begins.
  [[nodiscard]] const void* head() const noexcept { return &newest_; }

  /// In a forked child: there are no slabs, and nobody walks.
  void forget() noexcept {
    walkers_ = 0;
    newest_.store(nullptr, std::memory_order_relaxed);
  }

private:
  std::size_t walkers_ = 0;  // under the pool's lock
  typename Atomics::template atomic<Slab*> newest_{nullptr};  // written under the pool's lock
};

}  // namespace aramid::inline v0::detail
