#include "asymmetric_fence.hpp"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

namespace aramid::inline v0::detail {

namespace {

bool membarrier(int command) noexcept { return syscall(SYS_membarrier, command, 0, 0) == 0; }

/// What membarrier does, for a program that put itself into a sandbox which refuses it when its workers had already begun to count on it:
/// whoever ran on a CPU that this thread then runs on has been switched away, and has passed a fence. Slow: more than a thousand system calls.
void run_on_every_cpu() noexcept {
  const int saved = errno;
  cpu_set_t before;
  bool all = sched_getaffinity(0, sizeof before, &before) == 0;
  for (std::size_t cpu = 0; all && cpu != CPU_SETSIZE; ++cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    // EINVAL: there is no such CPU, or none for us, so nobody of ours runs there.
    all = sched_setaffinity(0, sizeof one, &one) == 0 || errno == EINVAL;
  }
  if (!all || sched_setaffinity(0, sizeof before, &before) != 0) {
    std::fputs("aramid: membarrier and sched_setaffinity are refused, though the first was not when the workers began: allow one of the "
               "two, or enter the sandbox before the first runtime\n",
               stderr);
    std::abort();
  }
  errno = saved;
}

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
  if (!membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) && (!membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) ||
                                                        !membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED))) {
    run_on_every_cpu();
  }
}

}  // namespace aramid::inline v0::detail
