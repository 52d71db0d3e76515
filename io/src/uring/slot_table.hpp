// What user_data names: a slot of this table and its generation, never an address. One table per
// ring.
//
//   1. The owner acquires a slot for an operation; its ticket is (generation, index).
//   2. Whoever reaps the completion takes the operation out by the ticket, which raises the slot's
//      generation and frees it. A ticket from before finds a different generation, so a late cancel
//      finds nothing in the kernel and a completion that should not exist finds nothing here.
//
// Only the owner acquires; takers exclude each other by the ring's reap lock, but not the owner's
// `acquire`. So the free slots are two lists: the owner's own, plain, to which it also frees; and
// the returned one (returned_list.hpp), to which peers push and which the owner takes whole when its own is empty.
//
// The table grows by chunks and never shrinks: what is in flight is bounded by fibers, not by the
// rings' sizes. A slot never moves.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include "../io_driver.hpp"
#include "../operation.hpp"
#include "returned_list.hpp"

namespace aramid::inline v0::detail {

class slot_table {
public:
  static constexpr std::uint32_t chunk_slots = 512;
  static constexpr std::uint32_t max_chunks = 4096;  // two million operations in flight on one ring
  static constexpr std::uint32_t max_slots = chunk_slots * max_chunks;

  slot_table() = default;
  ~slot_table() {
    for (auto& chunk : chunks_) {
      delete[] chunk.load(std::memory_order_relaxed);
    }
  }

  slot_table(const slot_table&) = delete;
  slot_table& operator=(const slot_table&) = delete;

  /// Step 1. The owner.
  /// Returns: false if there is no memory for more slots.
  [[nodiscard]] bool acquire(operation& op) noexcept {
    if (free_ == none && !refill()) {
      return false;
    }
    const std::uint32_t index = free_;
    slot& s = at(index);
    free_ = s.next_free;
    op.ticket = std::uint64_t{s.generation.load(std::memory_order_relaxed)} << 32 | index;
    // release: pairs with the acquire in `take`. In fact the kernel's queues order the two; the
    // tools do not see those.
    s.op.store(&op, std::memory_order_release);
    return true;
  }

  /// Step 2. Under the reap lock, or the owner before anybody has seen the ticket.
  /// Returns: nullptr if the ticket is not in use.
  [[nodiscard]] operation* take(std::uint64_t ticket, caller from) noexcept {
    const auto index = static_cast<std::uint32_t>(ticket);
    const auto generation = static_cast<std::uint32_t>(ticket >> 32);
    if (index >= max_slots ||
        chunks_[index / chunk_slots].load(std::memory_order_acquire) == nullptr) {
      return nullptr;
    }
    slot& s = at(index);
    if (s.generation.load(std::memory_order_relaxed) != generation) {
      return nullptr;
    }
    operation* const op = s.op.load(std::memory_order_acquire);
    if (op == nullptr) {
      return nullptr;
    }
    s.op.store(nullptr, std::memory_order_relaxed);
    s.generation.store(generation + 1, std::memory_order_relaxed);
    if (from == caller::owner) {
      s.next_free = free_;
      free_ = index;
    } else {
      returned_.push(index, [&s](std::uint32_t next) { s.next_free = next; });
    }
    return op;
  }

  /// What a ticket is likely to be for, taken out or not. Under the reap lock: then it is an operation that nobody else can finish.
  /// Returns: nullptr if there is none.
  [[nodiscard]] const operation* peek(std::uint64_t ticket) noexcept {
    const auto index = static_cast<std::uint32_t>(ticket);
    // acquire, twice: as in `take`.
    return index < max_slots && chunks_[index / chunk_slots].load(std::memory_order_acquire) != nullptr
               ? at(index).op.load(std::memory_order_acquire)
               : nullptr;
  }

private:
  static constexpr std::uint32_t none = returned_list<>::none;

  struct slot {
    std::atomic<operation*> op{nullptr};  // set by the owner, cleared by the taker
    std::atomic<std::uint32_t> generation{
        0};                          // the taker; relaxed: the free lists order it for the owner
    std::uint32_t next_free = none;  // whoever frees; then the owner
  };

  [[nodiscard]] slot& at(std::uint32_t index) noexcept {
    return chunks_[index / chunk_slots].load(std::memory_order_relaxed)[index % chunk_slots];
  }

  bool refill() noexcept {
    free_ = returned_.take_all();
    if (free_ != none) {
      return true;
    }
    if (chunk_count_ == max_chunks) {
      return false;
    }
    slot* const chunk = new (std::nothrow) slot[chunk_slots];
    if (chunk == nullptr) {
      return false;
    }
    const std::uint32_t first = chunk_count_ * chunk_slots;
    for (std::uint32_t i = 0; i < chunk_slots; ++i) {
      chunk[i].next_free = i + 1 < chunk_slots ? first + i + 1 : none;
    }
    // release: pairs with the acquire in `take`, for the slots' first values.
    chunks_[chunk_count_++].store(chunk, std::memory_order_release);
    free_ = first;
    return true;
  }

  // The owner's.
  std::uint32_t free_ = none;
  std::uint32_t chunk_count_ = 0;

  returned_list<> returned_;
  std::array<std::atomic<slot*>, max_chunks> chunks_{};
};

}  // namespace aramid::inline v0::detail
