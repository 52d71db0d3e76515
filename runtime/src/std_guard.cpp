#include <aramid/std_guard.hpp>

#include <exception>
#include <sstream>
#include <utility>

#include "backtrace.hpp"
#include "failure_text.hpp"
#include "fiber_control.hpp"
#include "log.hpp"
#include "std_locks.hpp"
#include "thread_state.hpp"

namespace aramid::inline v0::detail {

void note_std_lock(const void* mutex) noexcept {
  if (auto* const self = static_cast<fiber_control*>(current_fiber())) {
    self->std_locks.newest = mutex;
    ++self->std_locks.held;
  }
}

void note_std_unlock() noexcept {
  if (auto* const self = static_cast<fiber_control*>(current_fiber())) {
    if (--self->std_locks.held == 0) {
      self->std_locks.reported = false;
    }
  }
}

void report_std_lock(fiber_control& self, const char* suspends_in) noexcept {
  if (std::exchange(self.std_locks.reported, true)) {
    return;
  }
  try {
    std::ostringstream text;
    text << "aramid: " << describe(self) << " suspends in " << suspends_in << " while it holds a lock taken by std_guard ("
         << self.std_locks.newest << "): whoever wants that next blocks a worker; here";
    frame_list frames;
    add_frames(frames, reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)), *self.bound.load(std::memory_order_relaxed));
    symbols names;
    log_line(std::move(text).str() + text_of(frames, false, names));
  } catch (const std::exception&) {  // no memory for the text
  }
}

}  // namespace aramid::inline v0::detail
