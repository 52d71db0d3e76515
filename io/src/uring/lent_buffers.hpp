// Memory that the kernel puts into what it receives, and lends to whoever asked (io/received_bytes.hpp): a ring of provided buffers, one for each
// io_uring that was asked for it.
//
//   1. All buffers lie in the kernel's ring. A receive that finds bytes takes the oldest; its completion says which (`lend`, by whoever
//      reaps).
//   2. Whoever is done with it, on any thread, puts it back at the end (`give_back`). The kernel has one writer of the ring in mind: a lock
//      makes them one.
//   3. None left: the receive says -ENOBUFS, and its fiber waits and takes memory of the heap (stream_socket.cpp). So nobody waits for
//      another to give back, who may never do it.
//   4. The driver lets go at its end (`release`); the last of it and of those who still hold a buffer frees the memory. A ring that the kernel
//      no longer knows is plain memory, to which one may go on giving back.
//
// Buffers lie a cache line more than a power of two apart: small messages, each at the beginning of another buffer, would else fall
// into the same few sets of the cache.
//
// Rejected: multishot receives, which save the submissions. The floors are alike (raw io_uring 5.00 µs a request, multishot with
// provided buffers 4.9–5.0), and what has come ahead of a reader would have to be kept, moved and given up with it. DESIGN's lock-free list of what comes
// back, with the owner putting it into the ring: the lock is taken once a message and not contended.
#pragma once

#include <liburing.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <aramid/detail/spin_lock.hpp>

namespace aramid::inline v0::detail {

class lent_buffers {
public:
  static constexpr unsigned count = 1024;  // a power of two; a worker's batch of completions at once
  static constexpr std::size_t buffer_bytes = 8192;
  static constexpr std::uint16_t group = 1;

  /// Gives the kernel the buffers. Returns: nullptr if it refuses, or there is no memory.
  [[nodiscard]] static lent_buffers* make(io_uring& ring) noexcept;

  /// Step 4. The driver: after its ring is gone.
  void release() noexcept;
  struct releaser {
    void operator()(lent_buffers* gone) const noexcept { gone->release(); }
  };

  /// Step 1. Under the reap lock. Returns: the buffer, which is the caller's.
  [[nodiscard]] std::byte* lend(std::uint16_t number) noexcept {
    holders_.fetch_add(1, std::memory_order_relaxed);
    return at(number);
  }

  /// Step 2. Threads: any. The pool may be gone when it returns.
  void take_back(std::byte* buffer) noexcept;

  lent_buffers(const lent_buffers&) = delete;
  lent_buffers& operator=(const lent_buffers&) = delete;

private:
  static constexpr std::size_t stride = buffer_bytes + 64;
  static constexpr std::size_t ring_bytes = count * sizeof(io_uring_buf);  // whole pages
  static constexpr std::size_t all_bytes = ring_bytes + count * stride;

  explicit lent_buffers(void* memory) noexcept
      : ring_(static_cast<io_uring_buf_ring*>(memory)), buffers_(static_cast<std::byte*>(memory) + ring_bytes) {}
  ~lent_buffers();

  [[nodiscard]] std::byte* at(unsigned number) const noexcept { return buffers_ + number * stride; }
  void add(unsigned number, int offset) noexcept {
    io_uring_buf_ring_add(ring_, at(number), buffer_bytes, static_cast<unsigned short>(number), io_uring_buf_ring_mask(count), offset);
  }

  io_uring_buf_ring* const ring_;
  std::byte* const buffers_;
  spin_lock lock_;                         // for the ring's tail
  std::atomic<std::uint32_t> holders_{1};  // the driver, and every buffer that is lent
};

}  // namespace aramid::inline v0::detail
