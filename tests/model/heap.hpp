// The heap of an execution: what the code under test allocates with new, it gets from here.
//
// Freed blocks are kept until the execution ends, so that an access after free finds the model's own objects (and is
// reported) instead of somebody else's memory, and addresses are never reused by accident. Blocks that an abandoned
// execution leaves behind are given back when it ends; those a finished execution leaves behind are a leak and a failure.
#pragma once

#include <cstddef>

namespace model::heap {

/// True while code under test runs: new and delete are tracked.
inline thread_local bool tracking = false;

struct block {
  void* address;
  std::size_t size_bytes;
  bool freed;
};

/// Called with each block that is freed, before it is retired. Set by the explorer.
inline void (*on_free)(const block&) = nullptr;
/// Called when a block is freed twice.
inline void (*on_double_free)(const block&) = nullptr;

/// Blocks of this execution that are not freed.
std::size_t live_blocks();
/// Ends the execution: gives every block back to the system.
void reset();

/// Switches tracking off for a scope (the explorer's own code, a test's bookkeeping).
class untracked {
public:
  untracked() noexcept : saved_(tracking) { tracking = false; }
  ~untracked() { tracking = saved_; }
  untracked(const untracked&) = delete;
  untracked& operator=(const untracked&) = delete;

private:
  bool saved_;
};

}  // namespace model::heap
