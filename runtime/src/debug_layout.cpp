#include "debug_layout.hpp"

#include <array>
#include <cstdint>

#include "backtrace.hpp"
#include "fiber_control.hpp"

// The one thing here that is meant for a program that is not C++. Its first word is the version of the table, and 0 while there are no fibers.
extern "C" {
extern std::array<std::uint64_t, 20> aramid_debug_layout;
__attribute__((visibility("default"), used)) std::array<std::uint64_t, 20> aramid_debug_layout{};
}

namespace aramid::inline v0::detail {

void publish_layout(const slab_layout& slabs, const fiber_control& example) noexcept {
  const auto offset = [&](const auto& member) {
    return static_cast<std::uint64_t>(reinterpret_cast<const char*>(&member) - reinterpret_cast<const char*>(&example));
  };
  using words = park_word<>;
  constexpr std::uint64_t version = 1;
  aramid_debug_layout = {version,
                         reinterpret_cast<std::uintptr_t>(slabs.newest),
                         slabs.older,
                         slabs.blocks,
                         fiber_control::block_bytes,
                         offset(example.id),
                         offset(example.name),
                         offset(example.word),
                         words::state_bits(),
                         words::parked_bits(),
                         offset(example.life) + fiber_life<>::state_offset(),
                         fiber_life<>::alive_bit(),
                         offset(example.bound),
                         offset(example.resume_point),
                         offset(example.wait.operation),
                         offset(example.wait.object),
                         offsetof(stack, bottom),
                         offsetof(stack, size_bytes),
                         saved_frame,
                         saved_return};
}

}  // namespace aramid::inline v0::detail
