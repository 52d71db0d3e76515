// Latencies in logarithmic buckets, 128 to the octave: each quantile is right to within 0.8 %.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace net_load {

class histogram {
public:
  void record(std::uint64_t value) noexcept {
    ++counts_[bucket_of(value)];
    ++total_;
    sum_ += value;
    max_ = value > max_ ? value : max_;
  }

  /// Takes in what another one has recorded.
  void add(const histogram& other) noexcept {
    for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
      counts_[bucket] += other.counts_[bucket];
    }
    total_ += other.total_;
    sum_ += other.sum_;
    max_ = other.max_ > max_ ? other.max_ : max_;
  }

  [[nodiscard]] std::uint64_t max() const noexcept { return max_; }
  [[nodiscard]] double mean() const noexcept;

  /// Returns: the value that the share `fraction` (0..1) of all values does not exceed, rounded up
  ///          to the end of its bucket but not above max(); 0 if there is no value.
  [[nodiscard]] std::uint64_t quantile(double fraction) const noexcept;

private:
  static constexpr unsigned sub_bits = 7;
  static constexpr std::size_t subs = std::size_t{1} << sub_bits;

  // Values below 2 * subs have a bucket each; above, the top sub_bits + 1 bits choose it.
  static constexpr std::size_t bucket_of(std::uint64_t value) noexcept {
    if (value < subs) {
      return static_cast<std::size_t>(value);
    }
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - (sub_bits + 1);
    return (std::size_t{shift} << sub_bits) + static_cast<std::size_t>(value >> shift);
  }

  static constexpr std::uint64_t highest_in(std::size_t bucket) noexcept {
    if (bucket < 2 * subs) {
      return bucket;
    }
    const unsigned shift = static_cast<unsigned>(bucket >> sub_bits) - 1;
    const std::uint64_t lead = subs + (bucket & (subs - 1));
    return ((lead + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (64 - sub_bits + 1) * subs> counts_{};
  std::uint64_t total_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace net_load
