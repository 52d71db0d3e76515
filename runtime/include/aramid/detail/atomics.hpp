// The memory operations of the lock-free parts, as a policy. The library uses `std_atomics`; tests/model explores the
// same templates with atomics of its own that have store buffers and stale reads.
#pragma once

#include <atomic>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

/// Shared memory that is not atomic: the protocol around it must order its accesses, and the model checks that.
template <class T>
class plain_cell {
public:
  plain_cell() = default;
  explicit plain_cell(T value) : value_(value) {}
  [[nodiscard]] T read() const noexcept { return value_; }
  void write(T value) noexcept { value_ = value; }

private:
  T value_{};
};

struct std_atomics {
  template <class T>
  using atomic = std::atomic<T>;
  template <class T>
  using plain = plain_cell<T>;

  static void fence(std::memory_order order) noexcept { std::atomic_thread_fence(order); }

  static void pause() noexcept {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
};

/// For what is no template: tests/model compiles the same sources over other atomics.
template <class T>
using atomic = std_atomics::atomic<T>;

}  // namespace aramid::inline v0::detail
