// How much CPU time a worker's fibers take at a time, measured from one look of the scheduler to the next: by the thread's own clock, so that
// neither sleep counts nor the wait for a CPU.
//
// A look is every 64 switches. Fibers that serve I/O need 2 to 10 µs each. If some between two looks have taken `excess` more than the mean of
// them all, be it one that computes for a millisecond, the worker was *heavy*; that does not count for the mean.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace aramid::inline v0::detail {

class pace {
public:
  static constexpr std::chrono::microseconds excess{800};
  static constexpr std::chrono::microseconds most_at_first{30};  // for each, as long as there is no mean

  /// The owner: `switches` (not 0) took `cpu`.
  void note(std::chrono::nanoseconds cpu, std::uint64_t switches) noexcept {
    const auto count = static_cast<std::int64_t>(switches);
    const std::chrono::nanoseconds before = mean();
    if (cpu > (before.count() == 0 ? count * most_at_first : count * before + excess)) {
      was_heavy_.store(true, std::memory_order_relaxed);
      return;
    }
    const std::chrono::nanoseconds each = cpu / count;
    mean_.store((before.count() == 0 ? each : before + (each - before) / 8).count(), std::memory_order_relaxed);
  }

  /// Any thread: of the last few hundred switches that were measured.
  [[nodiscard]] std::chrono::nanoseconds mean() const noexcept {
    return std::chrono::nanoseconds(mean_.load(std::memory_order_relaxed));
  }

  /// One thread at a time: whether it was heavy since this was last asked.
  [[nodiscard]] bool take_heavy() noexcept {
    return was_heavy_.load(std::memory_order_relaxed) && was_heavy_.exchange(false, std::memory_order_relaxed);
  }

private:
  std::atomic<std::int64_t> mean_{0};  // nanoseconds; written by the owner
  std::atomic<bool> was_heavy_{false};
};

}  // namespace aramid::inline v0::detail
