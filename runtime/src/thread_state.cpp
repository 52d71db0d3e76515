#include "thread_state.hpp"

#include <pthread.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

#include <aramid/detail/spin_lock.hpp>

#include "belongings.hpp"
#include "fiber_control.hpp"
#include "forks.hpp"
#include "runtime_core.hpp"
#include "worker.hpp"

namespace aramid::inline v0::detail {

namespace {

// initial-exec: one instruction instead of a call into the dynamic linker; the few words fit into the static TLS
// surplus even if the library is loaded late.
__attribute__((tls_model("initial-exec"))) constinit thread_local thread_state state;

// Waiters of threads that have ended, for threads to come: a token may name them for ever (waiter.hpp).
struct waiter_pool {
  spin_lock lock;
  waiter* free = nullptr;
};
constinit waiter_pool idle_waiters;

void give_back(void* value) noexcept {
  auto* const gone = static_cast<thread_waiter*>(value);
  gone->drop_values(belongings::bindings::go);
  // Whatever runs later on this thread (destructors of other keys) makes itself a new one.
  if (state.current == gone) {
    state.current = nullptr;
  }
  state.own = nullptr;
  const std::lock_guard lock(idle_waiters.lock);
  gone->next = idle_waiters.free;
  idle_waiters.free = gone;
}

pthread_key_t exit_key() noexcept {
  static pthread_key_t key = [] {
    pthread_key_t made{};
    if (pthread_key_create(&made, give_back) != 0) {
      std::fputs("aramid: pthread_key_create: no keys left\n", stderr);
      std::abort();
    }
    return made;
  }();
  return key;
}

/// The thread's own waiter becomes its current one. Out of line: a thread needs it once.
__attribute__((noinline, cold)) waiter& use_own() noexcept {
  if (state.own != nullptr) {
    return *(state.current = state.own);
  }
  thread_waiter* made = nullptr;
  {
    const std::lock_guard lock(idle_waiters.lock);
    made = static_cast<thread_waiter*>(idle_waiters.free);
    if (made != nullptr) {
      idle_waiters.free = std::exchange(made->next, nullptr);
    }
  }
  if (made == nullptr) {
    made = new (std::nothrow) thread_waiter;
    if (made == nullptr) {
      std::fputs("aramid: no memory for a thread's waiter\n", stderr);
      std::abort();
    }
  }
  made->reset_cancellation();
  pthread_setspecific(exit_key(), made);
  return *(state.current = state.own = made);
}

/// As a last call, so that `what_runs` saves no registers for it.
__attribute__((noinline, cold)) running use_own_and_say() noexcept { return {&use_own(), state.on}; }

}  // namespace

// The asm statements keep the compiler from proving that two calls return the same.

waiter& current_waiter() noexcept {
  asm volatile("" ::: "memory");
  waiter* const current = state.current;
  return ARAMID_LIKELY(current != nullptr) ? *current : use_own();
}

running what_runs() noexcept {
  asm volatile("" ::: "memory");
  if (ARAMID_UNLIKELY(state.current == nullptr)) {
    return use_own_and_say();
  }
  return {state.current, state.on};
}

waiter* current_fiber() noexcept {
  asm volatile("" ::: "memory");
  waiter* const current = state.current;
  return current != nullptr && current->is_fiber() ? current : nullptr;
}

worker* current_worker() noexcept {
  asm volatile("" ::: "memory");
  return state.on;
}

runtime_core* current_runtime() noexcept {
  asm volatile("" ::: "memory");
  waiter* const current = state.current;
  if (current != nullptr && current->is_fiber()) {
    return static_cast<fiber_control*>(current)->core;
  }
  return state.entered;
}

thread_state* state_of_thread() noexcept {
  asm volatile("" ::: "memory");
  return &state;
}

void abandon_thread_state() noexcept {
  idle_waiters.free = nullptr;
  idle_waiters.lock.unlock();
  if (state.on != nullptr) {
    auto* const forked = static_cast<fiber_control*>(current_fiber());
    state.entered = &state.on->core;
    state.on = nullptr;
    state.current = nullptr;
    if (forked != nullptr && forked->any()) {
      // It is this thread now that ends the bindings.
      static_cast<belongings&>(static_cast<thread_waiter&>(use_own())) = std::move(static_cast<belongings&>(*forked));
      forked->context = nullptr;
    }
  }
}

}  // namespace aramid::inline v0::detail
