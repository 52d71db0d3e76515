// Fences that cost one side nothing. A pair of threads that each store something and then look at what the other has stored needs
// a full fence on both sides, or both may look too early. Where one side does this all the time and the other hardly ever, the
// rare side can pay for both: membarrier(2) has every running thread of the process pass a full fence.
//
//   light_fence   keeps the compiler from moving anything across, and no more
//   heavy_fence   0.35 µs if no other thread of the process runs, 5 µs if one does
//
// Any light fence and any heavy one are ordered as two seq_cst fences would be. Two light fences are not.
// Where the kernel refuses membarrier both are seq_cst fences.
#pragma once

#include <sched.h>

#include <atomic>

#include <aramid/detail/atomics.hpp>
#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

/// Whether heavy fences are membarriers. Set before the first worker of the process runs, and not changed while any does.
extern std::atomic<bool> fences_are_asymmetric;

/// Called before a runtime's first worker is made. To register with the kernel is free while the process has one thread and costs an RCU
/// grace period, 10 ms and more, later: once in the life of a process.
void prepare_heavy_fences() noexcept;

/// The policy of the protocols that use them. The model checker's has the same members.
struct asymmetric_atomics : std_atomics {
  /// Pauses that are worth waiting for a thread which has not lost its CPU: about 10 µs, less than a heavy fence costs.
  static constexpr int patience = 500;
  static void yield() noexcept { sched_yield(); }

  static void light_fence() noexcept {
    if (ARAMID_LIKELY(fences_are_asymmetric.load(std::memory_order_relaxed))) {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    } else {
      std::atomic_thread_fence(std::memory_order_seq_cst);
    }
  }
  static void heavy_fence() noexcept;

  /// For who asks once and not at every fence: if light fences cost nothing, `free_fence` is one.
  [[nodiscard]] static bool light_fences_are_free() noexcept {
    return fences_are_asymmetric.load(std::memory_order_relaxed);
  }
  static void free_fence() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }
};

}  // namespace aramid::inline v0::detail
