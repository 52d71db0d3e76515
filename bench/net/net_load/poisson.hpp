// Points in time as a Poisson process has them: independent of each other and of everything else.
#pragma once

#include "clock.hpp"

#include <cstdint>
#include <random>

namespace net_load {

class poisson {
public:
  /// `per_second` > 0. The first point is drawn from `start_ns` on.
  poisson(double per_second, std::uint64_t seed, std::uint64_t start_ns)
      : random_(seed), gap_seconds_(per_second), next_ns_(start_ns) {
    advance();
  }

  [[nodiscard]] std::uint64_t next_ns() const noexcept { return next_ns_; }
  void advance() { next_ns_ += to_ns(gap_seconds_(random_)); }

private:
  std::mt19937_64 random_;
  std::exponential_distribution<double> gap_seconds_;
  std::uint64_t next_ns_;
};

}  // namespace net_load
