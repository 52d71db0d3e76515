// Memory of fiber control blocks: slabs that live as long as the process, so that a token or a handle that outlives its
// runtime is still safe, and so that all fibers can be found by walking (shutdown, dumps) at no cost to spawn.
//
// A worker keeps a short list of free blocks of its own and comes here for more, a batch at a time.
//
// Memory of slabs that are not used goes back to the kernel, but their addresses stay theirs. Such a slab reads as zeros, and that is
// a block's state when nothing is in it: not alive, all locks free, and epoch 0, which no token has. So whoever still holds a token,
// or walks, finds nothing there and needs no warning.
//
//   1. The last block of a slab comes back, more than a few slabs are idle, and nobody walks: under the lock the slab is taken off the
//      list of those that have blocks, and the highest epoch of its blocks is noted. Nobody can raise one any more: only a fiber opens waits.
//   2. Without the lock its pages are given back; then it is listed again, as one to be revived.
//   3. Whoever takes blocks from it next revives it: every block's epochs go on behind the noted one. So no epoch comes twice.
//
// How walkers and this keep out of each other's way: slab_walk.hpp.
#pragma once

#include <cstddef>
#include <mutex>

#include "fiber_control.hpp"

namespace aramid::inline v0::detail {

/// Blocks linked through waiter::next.
struct control_list {
  waiter* first = nullptr;
  std::size_t size = 0;

  void push(fiber_control* block) noexcept {
    block->next = first;
    first = block;
    ++size;
  }
  fiber_control* pop() noexcept {
    if (first == nullptr) {
      return nullptr;
    }
    auto* const block = static_cast<fiber_control*>(first);
    first = block->next;
    --size;
    return block;
  }
};

constexpr std::size_t control_batch = 64;

/// Adds up to `control_batch` free blocks to `into`. Throws std::bad_alloc.
void refill_controls(control_list& into);

/// Takes `count` blocks from `from`.
void return_controls(control_list& from, std::size_t count) noexcept;

/// Calls `visit(block, argument)` for every block there is, free ones too.
void for_each_control(void (*visit)(fiber_control&, void*), void* argument);

/// Calls `fn()` if the block is that of a fiber of `core` that is alive, which it stays meanwhile (step 5 of fiber_life.hpp). Returns whether it was.
template <class Fn>
bool while_alive(fiber_control& block, const runtime_core& core, Fn fn) {
  if (!block.life.is_alive()) {
    return false;
  }
  const std::lock_guard lock(block.life);
  if (!block.life.is_alive() || block.core != &core) {
    return false;
  }
  fn();
  return true;
}

/// Whether the fiber is one of the process that forked this one. Asks the pool, since its runtime may have ended.
[[nodiscard]] bool of_another_process(const fiber_control& block) noexcept;

}  // namespace aramid::inline v0::detail
