// A fiber's control block: who it is, where it is in its life, who waits for its end. 512 bytes, pooled, with its
// callable and result inside if they fit.
//
//   new ──start──► ready ──► running ◄──► suspended        (the queues and park_word carry these)
//                              │
//                              ▼ body left, callable destroyed
//                            done: outcome set, then done_ (release), then observers are called, then the runtime's
//                            reference is dropped
//
// No reference until it is started, so that nobody finds a block half made; then two: the runtime's, dropped as the last act of
// the fiber's end, and the handle's. Whoever comes second of these two destroys the result. The block goes back to the pool with
// the last reference of any kind. `park_word`'s epoch survives that.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string_view>

#include <aramid/detail/fiber_handle.hpp>
#include <aramid/detail/spin_lock.hpp>

#include "execution.hpp"
#include "stack_pool.hpp"
#include "waiter.hpp"

namespace aramid::inline v0::detail {

class worker;
class runtime_core;
class group_core;

/// Somebody who waits for a fiber's end. In the joiner's frame; linked under the fiber's observers_lock, and once claimed,
/// by who announces the end, until that delivers.
struct join_observer {
  park_token token;
  join_observer* next = nullptr;
};

/// What `on_done` was given. Rare, so allocated.
struct done_callback {
  std::function<void()> call;
  std::unique_ptr<done_callback> next;
};

class fiber_control : public waiter, public execution {
public:
  static constexpr std::size_t block_bytes = 512;
  static constexpr std::size_t name_bytes = 32;

  fiber_control() noexcept : waiter(kind::fiber) {}

  // Written at birth, constant until the block is pooled again.
  runtime_core* core = nullptr;
  group_core* group = nullptr;
  const fiber_ops* ops = nullptr;
  void* box = nullptr;       // where the callable and the result live
  void* heap_box = nullptr;  // the same, if it did not fit
  std::size_t box_align = 0;  // of heap_box
  fiber_id id = 0;
  std::size_t stack_size_bytes = 0;
  bool born_outside = false;  // of the workers of its runtime
  char name[name_bytes] = {};

  // Written by the worker that runs it.
  stack* bound = nullptr;    // from its first run to its end
  worker* home = nullptr;    // pinned: where it must run

  std::atomic<std::uint32_t> references{0};
  std::atomic<bool> detached{false};
  std::atomic<bool> done{false};      // release: outcome, result and error are set

  spin_lock observers_lock;
  join_observer* observers = nullptr;              // under observers_lock, as is the next
  std::unique_ptr<done_callback> callbacks;

  // Written by the fiber before `done`.
  fiber_outcome outcome = fiber_outcome::running;
  std::atomic<bool> error_heard{false};  // somebody has been given `error`
  std::exception_ptr error;

  // In its group's list of children; under the group's lock.
  fiber_control* group_previous = nullptr;
  fiber_control* group_next = nullptr;

  [[nodiscard]] std::string_view display_name() const noexcept { return name; }

  /// Runs the body to its end and announces it. On the fiber's stack; `this` may be gone on return.
  /// Returns the worker it ended on.
  worker& run_to_end() noexcept;

  /// Ends it with `why` in place of running it: there was no memory for a stack. On worker `by`, from the scheduler.
  void fail_to_start(worker& by, std::exception_ptr why) noexcept;

  /// The handle's reference, and with it the claim to the result.
  void release_handle() noexcept;

  void add_reference() noexcept { references.fetch_add(1, std::memory_order_relaxed); }
  void drop_reference() noexcept;

  /// A reference, if the block is still referenced at all: for those who found it by walking the pool.
  [[nodiscard]] bool try_reference() noexcept;

  static constexpr std::size_t inline_align = 16;
  [[nodiscard]] void* inline_storage() noexcept;
  [[nodiscard]] static constexpr std::size_t inline_bytes() noexcept;

private:
  // In `references`, beside the count: whether the fiber has ended, and whether its handle is gone.
  static constexpr std::uint32_t ended_bit = std::uint32_t{1} << 31;
  static constexpr std::uint32_t handle_gone_bit = std::uint32_t{1} << 30;
  static constexpr std::uint32_t count_bits = handle_gone_bit - 1;

  void invoke_body() noexcept;
  void drop_callable() noexcept;
  void announce_end() noexcept;
  void give_up_life() noexcept;
  void drop_result() noexcept;
};

inline void* fiber_control::inline_storage() noexcept {
  return reinterpret_cast<unsigned char*>(this) + block_bytes - inline_bytes();
}

constexpr std::size_t fiber_control::inline_bytes() noexcept {
  constexpr std::size_t header = (sizeof(fiber_control) + inline_align - 1) / inline_align * inline_align;
  static_assert(header + 128 <= block_bytes, "no room left for callables");
  return block_bytes - header;
}

}  // namespace aramid::inline v0::detail
