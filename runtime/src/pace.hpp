// How much CPU time a worker's fibers take at a time, measured from one look of the scheduler to the next: by the thread's own clock, so that
// neither sleep counts nor the wait for a CPU.
//
// A look is every 64 switches; each is a measurement, but for those that follow another within `interval`. Fibers that serve I/O need 2 to 10 µs
// each. If some between two measurements have taken `excess` more than the mean of them all, be it one that computes for a millisecond, some of
// them were *heavy*: what they took more does not count for the mean, but is summed up.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace aramid::inline v0::detail {

class pace {
public:
  static constexpr std::chrono::microseconds interval{100};
  static constexpr std::chrono::microseconds excess{800};
  static constexpr std::chrono::microseconds most_at_first{30};  // for each, as long as there is no mean

  /// The owner: `switches` (not 0) took `cpu`.
  void note(std::chrono::nanoseconds cpu, std::uint64_t switches) noexcept {
    const auto count = static_cast<std::int64_t>(switches);
    const std::chrono::nanoseconds before = mean();
    if (cpu > (before.count() == 0 ? count * most_at_first : count * before + excess)) {
      heavy_.store((heavy() + cpu - count * before).count(), std::memory_order_relaxed);
      return;
    }
    const std::chrono::nanoseconds each = cpu / count;
    mean_.store((before.count() == 0 ? each : before + (each - before) / 8).count(), std::memory_order_relaxed);
  }

  /// Any thread: of the last few hundred switches that were measured.
  [[nodiscard]] std::chrono::nanoseconds mean() const noexcept {
    return std::chrono::nanoseconds(mean_.load(std::memory_order_relaxed));
  }

  /// Any thread: what heavy fibers have taken beyond the mean, since the beginning.
  [[nodiscard]] std::chrono::nanoseconds heavy() const noexcept {
    return std::chrono::nanoseconds(heavy_.load(std::memory_order_relaxed));
  }

private:
  std::atomic<std::int64_t> mean_{0};  // this and the next: nanoseconds; written by the owner
  std::atomic<std::int64_t> heavy_{0};
};

}  // namespace aramid::inline v0::detail
