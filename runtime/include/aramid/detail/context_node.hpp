// What context_var shares with the library: the chain of bindings that a fiber sees.
//
//   1. A binding puts a node in front of its fiber's chain, and takes it off again when it ends. Only that fiber writes its head.
//   2. A fiber is born with the head of whoever spawned it, and a reference to it. Nodes do not change, so the two share what lies behind.
//   3. A node holds a reference to the one behind it. The last to let go of a node destroys it.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

/// Names a context_var or a fiber_local for the life of the process: addresses come again, these do not.
using variable_id = std::uint64_t;
[[nodiscard]] ARAMID_API variable_id new_variable_id() noexcept;

struct context_node {
  const variable_id variable;
  void (*const destroy)(const context_node*) noexcept;
  const context_node* outer = nullptr;              // a reference; written before anybody else sees the node
  mutable std::atomic<std::uint32_t> references{1};
};

template <class T>
struct context_value : context_node {
  const T value;

  context_value(variable_id of, T bound)
      : context_node{of, [](const context_node* self) noexcept { delete static_cast<const context_value*>(self); }},
        value(std::move(bound)) {}
};

/// Puts `node` in front of the caller's chain, which takes over the reference.
ARAMID_API void push_context(context_node& node) noexcept;
/// Takes it off. It must be in front.
ARAMID_API void pop_context(const context_node& node) noexcept;
/// The innermost binding of `variable` that the caller sees, or nullptr.
[[nodiscard]] ARAMID_API const context_node* find_context(variable_id variable) noexcept;

}  // namespace aramid::inline v0::detail
