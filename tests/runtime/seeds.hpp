// The seeds of the simulations: those that the command line of simulation_tests asks for, or as many as a test wants.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>

#include "scale.hpp"

namespace aramid::test {

struct seed_range {
  std::uint64_t first;
  std::uint64_t last;
};

/// Written by main before the tests.
inline std::optional<seed_range> seeds_asked_for;

/// Calls `fn(seed)` for as many seeds as the command line asks for, else for `count`, a twentieth of that under a sanitizer.
template <class Fn>
void for_each_seed(std::uint64_t count, Fn fn) {
  const seed_range range = seeds_asked_for.value_or(seed_range{1, sanitized ? count / 20 : count});
  for (std::uint64_t seed = range.first; seed <= range.last && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("replay with --seed=" + std::to_string(seed));
    fn(seed);
  }
}

/// From 1 to 8.
inline unsigned workers_for(std::uint64_t seed) { return 1 + static_cast<unsigned>(seed * 7) % 8; }

}  // namespace aramid::test
