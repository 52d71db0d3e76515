#include "lent_buffers.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <mutex>
#include <new>

#include <aramid/io/received_bytes.hpp>

namespace aramid::inline v0::detail {

lent_buffers* lent_buffers::make(io_uring& ring) noexcept {
  // Touched as it is used.
  void* const memory = ::mmap(nullptr, all_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return nullptr;
  }
  auto* const made = new (std::nothrow) lent_buffers(memory);
  if (made == nullptr) {
    ::munmap(memory, all_bytes);
    return nullptr;
  }
  io_uring_buf_ring_init(made->ring_);
  for (unsigned i = 0; i != count; ++i) {
    made->add(i, static_cast<int>(i));
  }
  io_uring_buf_ring_advance(made->ring_, count);
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
  registration.ring_entries = count;
  registration.bgid = group;
  if (io_uring_register_buf_ring(&ring, &registration, 0) != 0) {
    delete made;
    return nullptr;
  }
  return made;
}

lent_buffers::~lent_buffers() { ::munmap(ring_, all_bytes); }

void lent_buffers::release() noexcept {
  // acq_rel: what the others did to the memory comes before its end.
  if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    delete this;
  }
}

void lent_buffers::take_back(std::byte* buffer) noexcept {
  {
    const std::lock_guard guard(lock_);
    add(static_cast<unsigned>(static_cast<std::size_t>(buffer - buffers_) / stride), 0);
    io_uring_buf_ring_advance(ring_, 1);
  }
  release();
}

void give_back(lent_buffers* lender, std::byte* buffer) noexcept {
  if (lender == nullptr) {
    std::free(buffer);
  } else {
    lender->take_back(buffer);
  }
}

}  // namespace aramid::inline v0::detail
