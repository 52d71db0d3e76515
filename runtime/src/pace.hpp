// How much CPU time a worker's fibers take at a time, measured from one look of the scheduler to the next: by the thread's own clock, so that
// neither sleep counts nor the wait for a CPU.
//
// A look is every 64 switches or sooner. Each is a measurement, but for those that follow another within `interval` or `fewest` switches. Fibers
// that serve I/O need 2 to 10 µs each. If those between two measurements have taken `excess` more than the mean of them all, be it one that
// computes for a millisecond, some of them were *heavy*: the measurement does not count for the mean, and what is beyond the mean is summed up.
// But if all are so for a while it is the mean that is out of date.
//
// A hypervisor that takes the CPU away meanwhile is not told from a fiber that computes.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace aramid::inline v0::detail {

class pace {
public:
  static constexpr std::chrono::microseconds interval{100};
  static constexpr std::uint64_t fewest = 8;
  static constexpr std::chrono::microseconds excess{800};
  static constexpr std::chrono::microseconds most_at_first{30};  // for each, as long as there is no mean
  static constexpr unsigned while_of_heavy_ones = 16;

  /// The owner: `switches`, at least `fewest`, took `cpu`.
  void note(std::chrono::nanoseconds cpu, std::uint64_t switches) noexcept {
    const auto count = static_cast<std::int64_t>(switches);
    const std::chrono::nanoseconds before = mean();
    if (cpu > (before.count() == 0 ? count * most_at_first : count * before + excess)) {
      heavy_.store((heavy() + cpu - count * before).count(), std::memory_order_relaxed);
      if (++heavy_in_a_row_ == while_of_heavy_ones) {
        heavy_in_a_row_ = 0;
        mean_.store(0, std::memory_order_relaxed);
      }
      return;
    }
    heavy_in_a_row_ = 0;
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
  unsigned heavy_in_a_row_ = 0;  // the owner's
};

}  // namespace aramid::inline v0::detail
