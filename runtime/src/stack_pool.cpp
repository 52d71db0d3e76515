#include "stack_pool.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

// Linux 6.13, include/uapi/asm-generic/mman-common.h; not in Debian 12's headers.
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

namespace aramid::inline v0::detail {

namespace {

constexpr std::size_t slab_bytes = std::size_t{64} * 1024 * 1024;
constexpr std::size_t smallest_stack = std::size_t{16} * 1024;
constexpr std::size_t largest_stack = std::size_t{1} << 30;

/// Whether the kernel knows MADV_GUARD_INSTALL; found out by the first guard. ARAMID_GUARD=mprotect forces the fallback.
std::atomic<bool> guard_by_madvise{true};

bool mprotect_forced() noexcept {
  const char* const wanted = std::getenv("ARAMID_GUARD");
  return wanted != nullptr && std::string_view(wanted) == "mprotect";
}

void install_guard(char* base) {
  if (guard_by_madvise.load(std::memory_order_relaxed) && !mprotect_forced()) {
    if (madvise(base, stack_pool::guard_bytes, MADV_GUARD_INSTALL) == 0) {
      return;
    }
    if (errno != EINVAL) {
      throw std::system_error(errno, std::generic_category(),
                              "aramid: madvise(MADV_GUARD_INSTALL) for a fiber's stack");
    }
    guard_by_madvise.store(false, std::memory_order_relaxed);
  }
  if (mprotect(base, stack_pool::guard_bytes, PROT_NONE) != 0) {
    throw std::system_error(errno, std::generic_category(),
                            "aramid: mprotect of a fiber stack's guard (each guard is a mapping of its own on this "
                            "kernel: vm.max_map_count allows about half as many stacks)");
  }
}

}  // namespace

std::size_t rounded_stack_size(std::size_t bytes) {
  if (bytes > largest_stack) {
    throw std::invalid_argument("aramid: stack_size_bytes: " + std::to_string(bytes) +
                                " is more than " + std::to_string(largest_stack));
  }
  return std::bit_ceil(std::max(bytes, smallest_stack));
}

stack_pool::~stack_pool() {
  for (slab& each : slabs_) {
    for (std::size_t i = 0; i != each.count; ++i) {
      forget(each.stacks[i].context);
    }
    munmap(each.base, each.count * stride());
  }
}

void stack_pool::add_slab() {
  const std::size_t count = std::max<std::size_t>(1, slab_bytes / stride());
  slabs_.reserve(slabs_.size() + 1);
  auto stacks = std::make_unique<stack[]>(count);
  void* const base = mmap(nullptr, count * stride(), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (base == MAP_FAILED) {
    throw std::system_error(errno, std::generic_category(),
                            "aramid: mmap of " + std::to_string(count * stride()) +
                                " bytes of address space for fiber stacks");
  }
  // EINVAL where the kernel has no huge pages: nothing to avoid then.
  madvise(base, count * stride(), MADV_NOHUGEPAGE);
  slabs_.push_back({static_cast<char*>(base), count, std::move(stacks)});
  carved_ = 0;
}

stack* stack_pool::carve() {
  if (slabs_.empty() || carved_ == slabs_.back().count) {
    add_slab();
  }
  slab& newest = slabs_.back();
  char* const base = newest.base + carved_ * stride();
  install_guard(base);
  stack& made = newest.stacks[carved_];
  made.size_bytes = size_bytes_;
  made.used_bytes = size_bytes_ - carved_ % top_places * top_step_bytes;
  made.bottom = base + guard_bytes;
  ++carved_;
  made_.store(made_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  return &made;
}

stack* stack_pool::take() {
  const std::lock_guard lock(lock_);
  stack* taken = nullptr;
  if (resident_ != nullptr) {
    taken = std::exchange(resident_, resident_->next);
    --resident_count_;
  } else if (trimmed_ != nullptr) {
    taken = std::exchange(trimmed_, trimmed_->next);
  } else {
    taken = carve();
  }
  taken->next = nullptr;
  return taken;
}

void stack_pool::give(stack* list) noexcept {
  stack* surplus = nullptr;
  {
    const std::lock_guard lock(lock_);
    while (list != nullptr) {
      stack* const each = std::exchange(list, list->next);
      stack*& head = resident_count_ < keep_resident ? resident_ : surplus;
      resident_count_ += &head == &resident_ ? 1 : 0;
      each->next = head;
      head = each;
    }
  }
  if (surplus == nullptr) {
    return;
  }
  // Outside the lock: nobody else knows of these.
  stack* last = nullptr;
  std::array<stack*, trims_at_once> some;
  std::size_t count = 0;
  for (stack* each = surplus; each != nullptr; each = each->next) {
    forget(each->context);
    each->fresh = true;
    last = each;
    some[count++] = each;
    if (count == some.size() || each->next == nullptr) {
      trim({some.data(), std::exchange(count, 0)});
    }
  }
  const std::lock_guard lock(lock_);
  last->next = trimmed_;
  trimmed_ = surplus;
}

void stack_pool::trim(std::span<stack*> idle) const noexcept {
  // Neighbours in one system call. Their guards lie in between, and stay: what has been protected or guarded has no pages to lose (man madvise,
  // MADV_GUARD_INSTALL).
  std::ranges::sort(idle, {}, &stack::bottom);
  for (std::size_t i = 0; i != idle.size();) {
    char* const from = idle[i]->bottom;
    char* to = nullptr;
    do {
      to = idle[i]->bottom + size_bytes_;
    } while (++i != idle.size() && idle[i]->bottom == to + guard_bytes);
    madvise(from, static_cast<std::size_t>(to - from), MADV_DONTNEED);
  }
}

const stack* stack_pool::guarding(const void* address) const noexcept {
  const auto* const where = static_cast<const char*>(address);
  for (const slab& each : slabs_) {
    if (where >= each.base && where < each.base + each.count * stride()) {
      const std::size_t offset = static_cast<std::size_t>(where - each.base);
      return offset % stride() < guard_bytes ? &each.stacks[offset / stride()] : nullptr;
    }
  }
  return nullptr;
}

}  // namespace aramid::inline v0::detail
