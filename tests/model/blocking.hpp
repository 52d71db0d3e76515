// What a model thread may block on: a mutex, a futex, an event.
#pragma once

#include "atomics.hpp"

namespace model {

/// std::mutex's lock and unlock.
class mutex {
public:
  void lock() {
    const heap::untracked scope;
    explorer& e = explorer::current();
    e.point();
    while (owner_ >= 0) e.block(this, "mutex::lock");
    take();
  }
  bool try_lock() {
    const heap::untracked scope;
    explorer& e = explorer::current();
    e.point();
    if (owner_ < 0) {
      take();
      return true;
    }
    e.shared_memory().remember(e.self(), 0x10cced);
    e.note("try_lock fails");
    return false;
  }
  void unlock() {
    const heap::untracked scope;
    explorer& e = explorer::current();
    if (owner_ != e.self()) e.fail("unlock of a mutex that the thread does not own");
    e.point();
    owner_ = -1;
    touch(std::memory_order_release);
    for (int t = 0; t < max_threads; ++t)
      if (e.is_blocked_on(t, this)) e.wake(t);
    e.note("unlock");
  }

private:
  void take() {
    owner_ = explorer::current().self();
    touch(std::memory_order_acquire);
    explorer::current().note("lock");
  }
  // RMWs only, so each reads the one before: the mutex's total order.
  void touch(std::memory_order order) {
    explorer& e = explorer::current();
    const auto same = [](word old, const void*) { return old; };
    e.shared_memory().rmw(e.self(), state_.id(), same, nullptr, order);
  }

  int owner_ = -1;
  atomic<int> state_{0};
};

/// FUTEX_WAIT on the low half of the atomic object at `address`: blocks if it holds `expected`. The kernel's full barriers
/// on both sides are part of it.
inline void futex_wait(const void* address, std::uint32_t expected) {
  const heap::untracked scope;
  explorer& e = explorer::current();
  e.point();
  memory& m = e.shared_memory();
  m.fence(e.self(), std::memory_order_seq_cst);
  const word value = m.load(e.self(), m.find(address), std::memory_order_acquire).value;
  const bool equal = static_cast<std::uint32_t>(value.low) == expected;
  e.note(equal ? "futex_wait: sleeps" : "futex_wait: the value has changed");
  if (equal) e.block(address, "futex_wait");
}

/// FUTEX_WAKE: wakes up to `count` waiters; which ones is open.
inline void futex_wake(const void* address, int count) {
  const heap::untracked scope;
  explorer& e = explorer::current();
  e.point();
  memory& m = e.shared_memory();
  m.fence(e.self(), std::memory_order_seq_cst);
  for (; count > 0; --count) {
    std::array<int, max_threads> waiters;
    std::size_t found = 0;
    for (int t = 0; t < max_threads; ++t)
      if (e.is_blocked_on(t, address)) waiters[found++] = t;
    m.remember(e.self(), found);
    if (found == 0) break;
    const int chosen = waiters[e.choose(found)];
    m.remember(e.self(), static_cast<std::uint64_t>(chosen));
    e.wake(chosen);
    e.note("futex_wake: thread " + std::to_string(chosen));
  }
}

/// A counter with a wait, as an eventfd or a driver's wake: signal() is never lost, wait() takes what there is.
class event {
public:
  void signal() {
    const heap::untracked scope;
    explorer& e = explorer::current();
    e.point();
    const auto set = [](word, const void*) { return word{1, 0}; };
    e.shared_memory().rmw(e.self(), state_.id(), set, nullptr, std::memory_order_seq_cst);
    set_ = true;
    for (int t = 0; t < max_threads; ++t)
      if (e.is_blocked_on(t, this)) e.wake(t);
    e.note("signal");
  }
  void wait() {
    const heap::untracked scope;
    explorer& e = explorer::current();
    e.point();
    while (!set_) e.block(this, "event::wait");
    set_ = false;
    const auto clear = [](word, const void*) { return word{}; };
    e.shared_memory().rmw(e.self(), state_.id(), clear, nullptr, std::memory_order_seq_cst);
    e.note("waited");
  }

private:
  bool set_ = false;
  atomic<std::uint64_t> state_{0};
};

}  // namespace model
