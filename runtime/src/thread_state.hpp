// What a thread knows of itself: which waiter runs on it now, and which worker it is. The only thread_locals of the
// library.
//
// A fiber that suspends may wake on another thread, so the address of a thread_local must not live across a
// suspension. The accessors therefore return values, and are opaque to the optimiser (ARAMID_PER_THREAD). A worker writes
// through a pointer that it took once, on its own thread.
#pragma once

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

class waiter;
class worker;
class runtime_core;

struct thread_state {
  waiter* current = nullptr;         // the fiber that runs on this thread, or the thread's own waiter once it has one
  worker* on = nullptr;              // the worker that this thread is; stepped workers take turns
  runtime_core* entered = nullptr;   // the runtime a plain thread has entered
  waiter* own = nullptr;             // the thread's own waiter, made at its first wait
  bool blocks_broken_pipes = false;  // because it is a thread of the library (signal_mask.hpp)
};

/// The fiber that runs on this thread, or the thread itself.
[[nodiscard]] ARAMID_PER_THREAD waiter& current_waiter() noexcept;

/// Both at once: the waiter, and the worker that its thread is, if it is one. What runs on a worker is a fiber, or its scheduler.
struct running {
  waiter* who;
  worker* on;
};
[[nodiscard]] ARAMID_PER_THREAD running what_runs() noexcept;

/// The fiber that runs on this thread, or nullptr.
[[nodiscard]] ARAMID_PER_THREAD waiter* current_fiber() noexcept;

/// The worker that this thread is, or nullptr.
[[nodiscard]] ARAMID_PER_THREAD worker* current_worker() noexcept;

/// The runtime that the calling fiber belongs to or its thread has entered, or nullptr.
[[nodiscard]] ARAMID_PER_THREAD runtime_core* current_runtime() noexcept;

/// The state itself. Never kept by code that may suspend.
[[nodiscard]] ARAMID_PER_THREAD thread_state* state_of_thread() noexcept;

}  // namespace aramid::inline v0::detail
