// How many mappings this process has.
#pragma once

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iterator>

namespace aramid::test {

inline std::size_t mappings() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<std::size_t>(
      std::count(std::istreambuf_iterator<char>(maps), std::istreambuf_iterator<char>(), '\n'));
}

}  // namespace aramid::test
