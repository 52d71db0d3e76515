#include "backtrace.hpp"

#include "symbols.hpp"

namespace aramid::inline v0::detail {

namespace {

/// The stack may be another thread's by now, and what is read garbage: that is what the caller checks for.
__attribute__((no_sanitize("address"), no_sanitize("thread"), noinline)) std::uintptr_t word_at(std::uintptr_t address) noexcept {
  return *reinterpret_cast<const volatile std::uintptr_t*>(address);
}

}  // namespace

void add_frames(frame_list& to, std::uintptr_t frame, const stack& on) noexcept {
  auto low = reinterpret_cast<std::uintptr_t>(on.bottom);
  const std::uintptr_t high = low + on.size_bytes;
  // A frame: the caller's frame, and behind it where to return.
  while (to.depth != frame_list::most && frame % sizeof(frame) == 0 && frame >= low && frame + 2 * sizeof(frame) <= high) {
    const std::uintptr_t returns_to = word_at(frame + sizeof(frame));
    if (returns_to == 0) {
      break;
    }
    to.add(returns_to);
    low = frame + sizeof(frame);  // frames only go up
    frame = word_at(frame);
  }
}

void add_suspended_frames(frame_list& to, const void* resume_point, const stack& on) noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(resume_point);
  const auto low = reinterpret_cast<std::uintptr_t>(on.bottom);
  if (at % sizeof(at) != 0 || at < low || at + saved_return + sizeof(at) > low + on.size_bytes) {
    return;
  }
  to.add(word_at(at + saved_return));
  add_frames(to, word_at(at + saved_frame), on);
}

std::string text_of(const frame_list& frames, bool is_running, symbols& names) {
  std::string text;
  for (std::size_t i = 0; i != frames.depth; ++i) {
    // Where it returns to lies behind the call.
    text += "\n    " + names.describe(frames.at[i] - (is_running && i == 0 ? 0 : 1));
  }
  return text;
}

}  // namespace aramid::inline v0::detail
