#include "control_pool.hpp"

#include <sys/mman.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <new>

namespace aramid::inline v0::detail {

namespace {

constexpr std::size_t slab_blocks = 1024;

struct slab {
  alignas(64) unsigned char blocks[slab_blocks][fiber_control::block_bytes];
  slab* older;
};

// Never destroyed: other threads may still hold handles while statics die.
struct pool {
  spin_lock lock;
  control_list free;               // under the lock
  std::atomic<slab*> newest{nullptr};  // slabs are only ever added; release, read with acquire
};
constinit pool shared;

fiber_control* block_at(slab& of, std::size_t index) noexcept {
  return std::launder(reinterpret_cast<fiber_control*>(of.blocks[index]));
}

void add_slab() {
  void* const memory = mmap(nullptr, sizeof(slab), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw std::bad_alloc();
  }
  auto* const made = static_cast<slab*>(memory);
  for (std::size_t i = 0; i != slab_blocks; ++i) {
    ::new (static_cast<void*>(made->blocks[i])) fiber_control();
  }
  made->older = shared.newest.load(std::memory_order_relaxed);
  // Newest block first out would spread; push in reverse so that they leave in address order.
  for (std::size_t i = slab_blocks; i-- != 0;) {
    shared.free.push(block_at(*made, i));
  }
  shared.newest.store(made, std::memory_order_release);
}

}  // namespace

void refill_controls(control_list& into) {
  const std::lock_guard lock(shared.lock);
  if (shared.free.first == nullptr) {
    add_slab();
  }
  for (std::size_t i = 0; i != control_batch; ++i) {
    fiber_control* const block = shared.free.pop();
    if (block == nullptr) {
      break;
    }
    into.push(block);
  }
}

void return_controls(control_list& from, std::size_t count) noexcept {
  const std::lock_guard lock(shared.lock);
  for (; count != 0; --count) {
    shared.free.push(from.pop());
  }
}

void for_each_control(void (*visit)(fiber_control&, void*), void* argument) {
  for (slab* each = shared.newest.load(std::memory_order_acquire); each != nullptr; each = each->older) {
    for (std::size_t i = 0; i != slab_blocks; ++i) {
      visit(*block_at(*each, i), argument);
    }
  }
}

}  // namespace aramid::inline v0::detail
