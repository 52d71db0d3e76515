// For debuggers: where tools/aramid-gdb.py finds the fibers, in a process or a core, without debug information of the library.
#pragma once

#include <cstddef>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

class fiber_control;

/// Where the blocks are. Slabs are linked by a pointer at `older`, the first by the one at `newest`.
struct slab_layout {
  const void* newest;
  std::size_t older;
  std::size_t blocks;
};

/// Fills in the table `aramid_debug_layout`. Idempotent; `example` is a block. Under the lock of the pool.
void publish_layout(const slab_layout& slabs, const fiber_control& example) noexcept;

}  // namespace aramid::inline v0::detail
