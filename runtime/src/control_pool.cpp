#include "control_pool.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <utility>

#include "debug_layout.hpp"
#include "forks.hpp"
#include "slab_walk.hpp"

namespace aramid::inline v0::detail {

namespace {

constexpr std::size_t slab_bytes = std::size_t{512} * 1024;  // and aligned to as much
constexpr std::size_t page_bytes = 4096;
constexpr std::size_t idle_slabs_limit = 8;  // that keep their memory

/// Lies in the place of a slab's first block.
struct slab {
  slab* older = nullptr;          // in shared.slabs; constant, as is the next
  std::uint32_t made_after_forks = fork_count();
  slab* next = nullptr;           // of those that have blocks; under the lock, as are the next
  control_list free;
  returned_mark<> to_revive;      // walkers read it without the lock
  std::uint64_t epoch_floor = 0;  // of those blocks
};
static_assert(sizeof(slab) <= fiber_control::block_bytes);

constexpr std::size_t slab_blocks = slab_bytes / fiber_control::block_bytes - 1;

// Never destroyed: other threads may still hold handles while statics die.
struct pool {
  spin_lock lock;
  slab* available = nullptr;  // that have free blocks; under the lock, as is the next
  std::size_t idle = 0;       // slabs all of whose blocks are free, and which keep their memory
  slab_walk<slab> slabs;      // all of them
};
constinit pool shared;

fiber_control* block_at(slab& of, std::size_t index) noexcept {
  return std::launder(reinterpret_cast<fiber_control*>(reinterpret_cast<unsigned char*>(&of) +
                                                       (index + 1) * fiber_control::block_bytes));
}

slab& slab_of(const fiber_control& block) noexcept {
  return *reinterpret_cast<slab*>(reinterpret_cast<std::uintptr_t>(&block) & ~(slab_bytes - 1));
}

void* map(std::size_t bytes) {
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw std::bad_alloc();
  }
  return memory;
}

void* map_aligned() {
  const auto misplaced_by = [](void* memory) { return reinterpret_cast<std::uintptr_t>(memory) % slab_bytes; };
  // The kernel mostly puts one right below the one before: then it is aligned too, and both are one mapping.
  void* const memory = map(slab_bytes);
  if (misplaced_by(memory) == 0) {
    return memory;
  }
  munmap(memory, slab_bytes);
  // Twice as much, of which what lies outside of the aligned half is unmapped again.
  auto* const begin = static_cast<unsigned char*>(map(2 * slab_bytes));
  const std::size_t before = (slab_bytes - misplaced_by(begin)) % slab_bytes;
  if (before != 0) {
    munmap(begin, before);
  }
  munmap(begin + before + slab_bytes, slab_bytes - before);
  return begin + before;
}

void list_all(slab& of) noexcept {
  // In reverse, so that they leave in the order of their addresses.
  for (std::size_t i = slab_blocks; i-- != 0;) {
    of.free.push(block_at(of, i));
  }
  ++shared.idle;
}

// Under the lock, as are all of the following but `give_back`.
void add_slab() {
  auto* const made = ::new (map_aligned()) slab();
  for (std::size_t i = 0; i != slab_blocks; ++i) {
    ::new (static_cast<void*>(block_at(*made, i))) fiber_control();
  }
  list_all(*made);
  made->next = std::exchange(shared.available, made);
  shared.slabs.add(*made);
  publish_layout({shared.slabs.head(), offsetof(slab, older), slab_blocks}, *block_at(*made, 0));
}

void revive(slab& of) noexcept {
  for (std::size_t i = 0; i != slab_blocks; ++i) {
    block_at(of, i)->revive(of.epoch_floor);
  }
  of.to_revive.clear();
  list_all(of);
}

void unlist(slab& of) noexcept {
  slab** link = &shared.available;
  while (*link != &of) {
    link = &(*link)->next;
  }
  *link = of.next;
}

/// Returns: the slab, if its memory is now to be given back.
slab* take_back(fiber_control& block) noexcept {
  slab& home = slab_of(block);
  if (home.made_after_forks != fork_count()) {
    return nullptr;
  }
  if (home.free.size == 0) {
    home.next = std::exchange(shared.available, &home);
  }
  home.free.push(&block);
  if (home.free.size != slab_blocks) {
    return nullptr;
  }
  if (shared.idle < idle_slabs_limit || shared.slabs.goes_on()) {
    ++shared.idle;
    return nullptr;
  }
  unlist(home);  // mostly the first: what comes back together was mostly taken together
  home.free = {};
  for (std::size_t i = 0; i != slab_blocks; ++i) {
    home.epoch_floor = std::max(home.epoch_floor, block_at(home, i)->word.epoch());
  }
  return &home;
}

void give_back(slab& idle) noexcept {
  // The first page holds the slab's own words.
  madvise(reinterpret_cast<unsigned char*>(&idle) + page_bytes, slab_bytes - page_bytes, MADV_DONTNEED);
  const std::lock_guard lock(shared.lock);
  idle.to_revive.set();
  // Behind those that have their memory.
  slab** link = &shared.available;
  while (*link != nullptr && !(*link)->to_revive.is_set()) {
    link = &(*link)->next;
  }
  idle.next = std::exchange(*link, &idle);
}

}  // namespace

void refill_controls(control_list& into) {
  const std::lock_guard lock(shared.lock);
  if (shared.available == nullptr) {
    add_slab();
  }
  slab& from = *shared.available;
  if (from.to_revive.is_set()) {
    revive(from);
  }
  if (from.free.size == slab_blocks) {
    --shared.idle;
  }
  for (std::size_t i = 0; i != control_batch && from.free.size != 0; ++i) {
    into.push(from.free.pop());
  }
  if (from.free.size == 0) {
    shared.available = from.next;
  }
}

void return_controls(control_list& from, std::size_t count) noexcept {
  slab* idle = nullptr;
  {
    const std::lock_guard lock(shared.lock);
    for (; count != 0; --count) {
      if (slab* const emptied = take_back(*from.pop())) {
        emptied->next = std::exchange(idle, emptied);
      }
    }
  }
  while (idle != nullptr) {
    give_back(*std::exchange(idle, idle->next));
  }
}

void for_each_control(void (*visit)(fiber_control&, void*), void* argument) {
  shared.slabs.walk(shared.lock, [visit, argument](slab& each) {
    for (std::size_t i = 0; i != slab_blocks && !each.to_revive.is_set(); ++i) {
      visit(*block_at(each, i), argument);
    }
  });
}

void abandon_controls() noexcept {
  shared.available = nullptr;
  shared.idle = 0;
  shared.slabs.forget();
  shared.lock.unlock();
}

bool of_another_process(const fiber_control& block) noexcept {
  return fork_count() != 0 && slab_of(block).made_after_forks != fork_count();
}

}  // namespace aramid::inline v0::detail
