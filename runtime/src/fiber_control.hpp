// A fiber's control block: who it is, where it is in its life, who waits for its end. 512 bytes, pooled, with its
// callable and result inside if they fit.
//
//   new ──start──► ready ──► running ◄──► suspended        (the queues and park_word carry these)
//                              │
//                              ▼ body left, callable destroyed
//                            done: outcome set, then the end announced: observers are called, and the runtime lets go
//
// Who holds the block, and who takes it back to the pool: fiber_life.hpp. The result is dropped by whoever comes second, the end
// or the release of the handle. `park_word`'s epoch survives the block's lives.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string_view>

#include <aramid/detail/fiber_handle.hpp>

#include "belongings.hpp"
#include "execution.hpp"
#include "fiber_life.hpp"
#include "stack_pool.hpp"
#include "std_locks.hpp"
#include "waiter.hpp"

namespace aramid::inline v0::detail {

class worker;
class runtime_core;
class group_core;

/// What `on_done` was given. Rare, so allocated.
struct done_callback {
  std::function<void()> call;
  std::unique_ptr<done_callback> next;
};

/// What a fiber waits for, for people. Written by the fiber when it begins a wait, read by dumps: relaxed.
struct fiber_wait {
  std::atomic<const char*> operation{nullptr};
  std::atomic<const void*> object{nullptr};
  std::atomic<clock::rep> since{0};  // what the worker knew of the time

  void begin(const wait_note& note, time_point now) noexcept {
    operation.store(note.operation, std::memory_order_relaxed);
    object.store(note.object, std::memory_order_relaxed);
    since.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  }
};

/// What a wait and its wake look at besides `waiter` and the head of `execution`, which fill the block's first line: it begins another.
struct alignas(64) fiber_wait_line {
  runtime_core* core = nullptr;  // constant from birth, until the block is pooled again
  worker* home = nullptr;        // written by the worker that runs it first, if it is pinned: where it must run
  fiber_wait wait;
};

class fiber_control : public waiter, public execution, public fiber_wait_line, public belongings {
public:
  static constexpr std::size_t block_bytes = 512;
  static constexpr std::size_t name_bytes = 32;

  fiber_control() noexcept : waiter(kind::fiber) {}

  // Written at birth, constant until the block is pooled again.
  group_core* group = nullptr;
  const fiber_ops* ops = nullptr;
  void* box = nullptr;       // where the callable and the result live
  void* heap_box = nullptr;  // the same, if it did not fit
  std::size_t box_align = 0;  // of heap_box
  fiber_id id = 0;
  std_locks_held std_locks;  // the fiber's own
  std::size_t stack_size_bytes = 0;
  bool born_outside = false;  // of the workers of its runtime
  bool logs_unheard = false;  // its failure is logged if its handle goes and nobody has been given it
  char name[name_bytes] = {};

  // Written by the worker that runs it.
  std::atomic<stack*> bound{nullptr};  // from its first run to its end. release: dumps read what is behind it

  using holder = fiber_life<>::holder;
  fiber_life<> life;
  bool detached = false;                // under life's lock, as are the next
  bool error_given = false;             // to the group: the runtime needs it no more
  join_observer* observers = nullptr;
  std::unique_ptr<done_callback> callbacks;

  // Written by the fiber before it is done.
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

  /// The block's memory was given back and reads as zeros (control_pool.hpp). Its epochs go on behind `epoch`.
  void revive(std::uint64_t epoch) noexcept {
    word.restart(epoch);
    reset_cancellation();
  }

  /// The handle goes, and with it the claim to the result.
  void release_handle() noexcept;

  /// One of those that hold the block needs it no more.
  void leave(holder who) noexcept;

  static constexpr std::size_t inline_align = 16;
  [[nodiscard]] void* inline_storage() noexcept;
  [[nodiscard]] static constexpr std::size_t inline_bytes() noexcept;

private:
  void invoke_body() noexcept;
  void drop_callable() noexcept;
  void drop_belongings(bindings theirs) noexcept;
  void drop_late_belongings() noexcept;
  void announce_end() noexcept;
  void leave_child(holder who) noexcept;
  void drop_result() noexcept;
  void retire() noexcept;
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
