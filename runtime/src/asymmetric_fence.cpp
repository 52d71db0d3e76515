#include "asymmetric_fence.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace aramid::inline v0::detail {

namespace {

bool membarrier(int command) noexcept { return syscall(SYS_membarrier, command, 0, 0) == 0; }

}  // namespace

constinit std::atomic<bool> fences_are_asymmetric{false};

void prepare_heavy_fences() noexcept {
  if (!fences_are_asymmetric.load(std::memory_order_relaxed) &&
      membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)) {
    fences_are_asymmetric.store(true, std::memory_order_relaxed);
  }
}

void asymmetric_atomics::heavy_fence() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!fences_are_asymmetric.load(std::memory_order_relaxed)) {
    return;
  }
  // A forked child may have to register anew.
  while (!membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) {
    membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
  }
}

}  // namespace aramid::inline v0::detail
