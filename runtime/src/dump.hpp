// What a dump sees of one fiber, and how, while the fiber goes on:
//
//   1. The dump walks all control blocks (slab_walk.hpp). Of one that is alive it takes the lock of its life: it cannot end, so its name,
//      its stack and its runtime stay.
//   2. It reads the park word (acquire). If the fiber is parked, what it had stored before is seen: where it is to be resumed, what it
//      waits for, and its stack.
//   3. It walks the stack, then reads the word again behind a fence. If it is the same, the fiber has stood still: whoever makes it run
//      claims the word first. Otherwise what was read is thrown away, and the fiber counts as ready.
//   4. Fibers that run are asked for by their workers' threads (hog_report.hpp).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <aramid/park.hpp>

#include "backtrace.hpp"
#include "fiber_control.hpp"

namespace aramid::inline v0::detail {

class runtime_core;

struct fiber_snapshot {
  enum class doing : unsigned char { not_started, ready, running, waiting };

  fiber_id id = 0;
  char name[fiber_control::name_bytes] = {};
  doing what = doing::ready;
  bool cancelled = false;
  unsigned on_worker = 0;             // if it runs
  const char* operation = nullptr;    // if it waits
  const void* object = nullptr;
  time_point since{};
  frame_list frames;
};

/// Steps 1 to 4 for the fibers of `core`, in the order of their birth on each worker.
[[nodiscard]] std::vector<fiber_snapshot> snapshots_of(const runtime_core& core);

[[nodiscard]] std::string text_of(const fiber_snapshot& fiber, time_point now, symbols& names);

/// What dump_fibers says of `core`.
[[nodiscard]] std::string dump_of(const runtime_core& core);

}  // namespace aramid::inline v0::detail
