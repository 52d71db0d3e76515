// Where fibers run: stacks, each with a guard below it and a context that stays alive between fibers.
//
// A stack is bound to a fiber when it first runs and given back hot when the fiber ends. Its context is a loop
// (worker.cpp, `stack_main`) that runs one fiber after another, so binding a stack that has been used before is an ordinary
// switch: no new context is made, and a fiber that follows another on the same stack costs no switch at all.
//
// Memory: slabs of address space, reserved with MAP_NORESERVE and without huge pages (one touched byte must not
// cost 2 MiB). A guard of 64 KiB lies below each stack, because a frame of 32 KiB was seen to step over one page:
// MADV_GUARD_INSTALL where the kernel has it (6.13: no extra mapping), else mprotect, which runs into vm.max_map_count near
// 32,000 stacks; the error then says so.
//
// Stacks begin at different places of their topmost pages. If all began at its end, the few lines that a switch needs would be the same ones
// of each page, and the first-level cache has eight places for each: sixteen fibers that take turns would never find theirs there.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include <aramid/detail/config.hpp>
#include <aramid/detail/spin_lock.hpp>

#include "execution.hpp"

namespace aramid::inline v0::detail {

class fiber_control;

struct stack {
  execution context;  // of the loop that runs its occupants; while it has one, that one's own is used. First: see `of`
  fiber_control* occupant = nullptr;  // whom the loop is to run next; written before a switch to it
  stack* next = nullptr;              // in a pool
  std::size_t size_bytes = 0;         // of its pool
  std::size_t used_bytes = 0;         // from `bottom` up: less than `size_bytes` (stack_pool::carve)
  char* bottom = nullptr;             // lowest usable address; the guard ends here
  bool fresh = true;                  // its context has not been made

  /// The stack that `context` is the context of: a class of standard layout and its first member have one address.
  static stack& of(execution& context) noexcept { return reinterpret_cast<stack&>(context); }
};
static_assert(std::is_standard_layout_v<stack>);

/// Stacks of one size. Thread-safe; workers keep a few of their own (worker.hpp) and come here for more.
class stack_pool {
public:
  static constexpr std::size_t guard_bytes = std::size_t{64} * 1024;

  explicit stack_pool(std::size_t size_bytes) noexcept : size_bytes_(size_bytes) {}
  ~stack_pool();

  stack_pool(const stack_pool&) = delete;
  stack_pool& operator=(const stack_pool&) = delete;

  /// Throws: std::system_error naming what the kernel refused.
  stack* take();

  /// Takes back a list of idle stacks; what exceeds `keep_resident` idle ones gives its memory to the kernel.
  void give(stack* list) noexcept;

  [[nodiscard]] std::size_t size_bytes() const noexcept { return size_bytes_; }
  [[nodiscard]] std::size_t made() const noexcept { return made_.load(std::memory_order_relaxed); }

  /// The stack whose guard `address` lies in, or nullptr. Async-signal-safe only as far as the pool is quiet:
  /// used on the way to abort.
  [[nodiscard]] const stack* guarding(const void* address) const noexcept;

private:
  static constexpr std::size_t keep_resident = 256;
  static constexpr std::size_t trims_at_once = 64;
  // A quarter of a page in all. With half a page, fibers that are cancelled throw one page further down: 100,000 that wait take a sixth longer.
  static constexpr std::size_t top_places = 16, top_step_bytes = 64;

  struct slab {
    char* base;
    std::size_t count;
    std::unique_ptr<stack[]> stacks;
  };

  [[nodiscard]] std::size_t stride() const noexcept { return size_bytes_ + guard_bytes; }
  stack* carve();
  void trim(std::span<stack*> idle) const noexcept;
  void add_slab();

  const std::size_t size_bytes_;
  mutable spin_lock lock_;  // guards everything below
  std::vector<slab> slabs_;
  std::size_t carved_ = 0;  // of the newest slab
  std::atomic<std::size_t> made_{0};  // the pool's own worker; stats() reads it, so relaxed
  stack* resident_ = nullptr;  // idle, memory kept
  std::size_t resident_count_ = 0;
  stack* trimmed_ = nullptr;  // idle, memory given back, context gone
};

/// `bytes` rounded up to what a stack can be. Throws std::invalid_argument if it is absurd.
std::size_t rounded_stack_size(std::size_t bytes);

}  // namespace aramid::inline v0::detail
