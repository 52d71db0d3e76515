#include "histogram.hpp"

#include <algorithm>
#include <cmath>

namespace net_load {

double histogram::mean() const noexcept {
  return total_ == 0 ? 0.0 : static_cast<double>(sum_) / static_cast<double>(total_);
}

std::uint64_t histogram::quantile(double fraction) const noexcept {
  if (total_ == 0) {
    return 0;
  }
  const double wanted = std::ceil(fraction * static_cast<double>(total_));
  const std::uint64_t rank =
      std::clamp<std::uint64_t>(static_cast<std::uint64_t>(wanted), 1, total_);
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
    seen += counts_[bucket];
    if (seen >= rank) {
      return std::min(highest_in(bucket), max_);
    }
  }
  return max_;
}

}  // namespace net_load
