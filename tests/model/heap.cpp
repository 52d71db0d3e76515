#include "heap.hpp"

#include <cstdlib>
#include <new>

namespace model::heap {
namespace {

// Few blocks live in one execution: a flat table, searched from its end, is the fastest index. It grows by malloc, not
// by new, because new leads here.
block* table = nullptr;
std::size_t count = 0;
std::size_t capacity = 0;

void* note(void* address, std::size_t size_bytes) {
  if (address == nullptr) throw std::bad_alloc();
  if (!tracking) return address;
  if (count == capacity) {
    capacity = capacity == 0 ? 256 : capacity * 2;
    table = static_cast<block*>(std::realloc(table, capacity * sizeof(block)));
    if (table == nullptr) std::abort();
  }
  table[count++] = {address, size_bytes, false};
  return address;
}

void release(void* address) noexcept {
  if (address == nullptr) return;
  for (std::size_t i = count; i-- > 0;) {
    if (table[i].address != address) continue;
    if (table[i].freed) {
      if (tracking && on_double_free != nullptr) on_double_free(table[i]);
      return;
    }
    if (tracking && on_free != nullptr) on_free(table[i]);
    table[i].freed = true;
    return;
  }
  std::free(address);
}

void* allocate(std::size_t size_bytes) {
  return note(std::malloc(size_bytes == 0 ? 1 : size_bytes), size_bytes);
}

void* allocate(std::size_t size_bytes, std::align_val_t alignment) {
  const auto align = static_cast<std::size_t>(alignment);
  const std::size_t rounded = (size_bytes + align - 1) / align * align;
  return note(std::aligned_alloc(align, rounded == 0 ? align : rounded), size_bytes);
}

}  // namespace

std::size_t live_blocks() {
  std::size_t live = 0;
  for (std::size_t i = 0; i < count; ++i) live += table[i].freed ? 0 : 1;
  return live;
}

void reset() {
  for (std::size_t i = 0; i < count; ++i) std::free(table[i].address);
  count = 0;
}

}  // namespace model::heap

// The replaceable allocation functions; the array and nothrow forms of the library end in these.
void* operator new(std::size_t size_bytes) { return model::heap::allocate(size_bytes); }
void* operator new[](std::size_t size_bytes) { return model::heap::allocate(size_bytes); }
void* operator new(std::size_t size_bytes, std::align_val_t align) {
  return model::heap::allocate(size_bytes, align);
}
void* operator new[](std::size_t size_bytes, std::align_val_t align) {
  return model::heap::allocate(size_bytes, align);
}
void operator delete(void* p) noexcept { model::heap::release(p); }
void operator delete[](void* p) noexcept { model::heap::release(p); }
void operator delete(void* p, std::size_t) noexcept { model::heap::release(p); }
void operator delete[](void* p, std::size_t) noexcept { model::heap::release(p); }
void operator delete(void* p, std::align_val_t) noexcept { model::heap::release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { model::heap::release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { model::heap::release(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { model::heap::release(p); }
