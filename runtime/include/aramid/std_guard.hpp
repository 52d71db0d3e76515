// A lock guard for std::mutex and the like, in code that runs on fibers.
#pragma once

#include <aramid/detail/config.hpp>

namespace aramid::inline v0 {

namespace detail {

ARAMID_API void note_std_lock(const void* mutex) noexcept;
ARAMID_API void note_std_unlock() noexcept;

}  // namespace detail

/// As std::lock_guard, for a `Mutex` that blocks threads. It is fine in a fiber for stretches that do not suspend; a fiber that suspends
/// with it held blocks the worker of the next one that wants it, perhaps the one it would itself go on with, and unlocks on another thread
/// than it has locked on. Where the library was built with ARAMID_ENABLE_ASSERT (the presets debug, asan, ubsan and tsan), a fiber that does
/// so is logged, with its name, what it waits in, and its stack.
/// Suspends: never; it may block the thread. Threads: as `Mutex`.
template <class Mutex>
class [[nodiscard]] std_guard {
public:
  explicit std_guard(Mutex& mutex) : mutex_(mutex) {
    mutex_.lock();
    detail::note_std_lock(&mutex_);
  }
  ~std_guard() {
    detail::note_std_unlock();
    mutex_.unlock();
  }

  std_guard(const std_guard&) = delete;
  std_guard& operator=(const std_guard&) = delete;

private:
  Mutex& mutex_;
};

}  // namespace aramid::inline v0
