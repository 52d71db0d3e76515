// Which seeds the command line of simulation_tests asks for.
#pragma once

#include <cstdint>
#include <optional>

namespace aramid::test {

struct seed_range {
  std::uint64_t first;
  std::uint64_t last;
};

/// Written by main before the tests.
inline std::optional<seed_range> seeds_asked_for;

}  // namespace aramid::test
