// What a process has, and a runtime: everything that a leak would make grow.
#pragma once

#include <cstdint>
#include <string>

namespace soak {

struct resources {
  // These have to be as they were.
  std::uint64_t descriptors = 0;
  std::uint64_t threads = 0;  ///< but for the next two
  std::uint64_t fibers = 0;
  std::uint64_t operations = 0;   ///< that the drivers have under way
  std::uint64_t connections = 0;  ///< whose handler has not ended
  // Threads that come with load and go after a while without.
  std::uint64_t pool_threads = 0;    ///< of `blocking` and for files
  std::uint64_t kernel_threads = 0;  ///< io_uring's own, which are listed as ours
  // Memory.
  std::uint64_t stacks = 0;
  std::uint64_t heap_kib = 0;      ///< given out by malloc and not given back, over all arenas
  std::uint64_t resident_kib = 0;  ///< what the process occupies, VmRSS
};

/// What the process has; of what only the runtime knows, nothing.
resources of_process(std::uint64_t pool_threads);

/// The open descriptors, one a line, for people.
std::string list_of_descriptors();

/// The names of those that must be equal and differ, with both numbers; empty if there are none.
std::string differences(const resources& before, const resources& now);

}  // namespace soak
