// The frames of a fiber's stack, found by their frame pointers. Frames of code built without them end the walk or are missing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include <aramid/detail/config.hpp>

#include "stack_pool.hpp"
#include "symbols.hpp"

namespace aramid::inline v0::detail {

// Where jump_fcontext leaves the frame pointer, and where to return, of what it suspends (Boost.Context's asm/jump_*_sysv_elf_gas.S, or
// _aapcs_; the same since 1.61).
#if defined(__x86_64__)
inline constexpr std::uintptr_t saved_frame = 0x30, saved_return = 0x38;
#elif defined(__aarch64__)
inline constexpr std::uintptr_t saved_frame = 0x90, saved_return = 0x98;
#else
#error "aramid: no frame walk for this machine"
#endif

struct frame_list {
  static constexpr std::size_t most = 48;

  std::array<std::uintptr_t, most> at{};
  std::size_t depth = 0;

  void add(std::uintptr_t address) noexcept {
    if (depth != most) {
      at[depth++] = address;
    }
  }
};

/// Adds where the frames from `frame` on return to, as far as they lie in `on`. Neither locks nor allocates. What it reads may change meanwhile:
/// then what it adds means nothing, but it ends.
void add_frames(frame_list& to, std::uintptr_t frame, const stack& on) noexcept;

/// Adds the frames of what is suspended on `on`, to be resumed at `resume_point`. As above.
void add_suspended_frames(frame_list& to, const void* resume_point, const stack& on) noexcept;

/// A line for each frame, indented. `is_running`: the first address is where it is, and not where it returns to.
[[nodiscard]] std::string text_of(const frame_list& frames, bool is_running, symbols& names);

}  // namespace aramid::inline v0::detail
