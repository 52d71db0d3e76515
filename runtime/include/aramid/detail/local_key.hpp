// What fiber_local shares with the library: a place in the tables that waiters keep of their values.
#pragma once

#include <cstddef>

#include <aramid/detail/config.hpp>
#include <aramid/detail/context_node.hpp>

namespace aramid::inline v0::detail {

/// A place may come to another key when its own has gone; the id tells whose a value is.
class ARAMID_API local_key {
public:
  local_key();
  ~local_key();

  local_key(const local_key&) = delete;
  local_key& operator=(const local_key&) = delete;

  const variable_id id;
  const std::size_t place;
};

using destroy_local = void (*)(void* value) noexcept;

/// The caller's value, or nullptr.
[[nodiscard]] ARAMID_API void* find_local(const local_key& key) noexcept;
/// Keeps `value` for the caller, until it ends. Throws std::bad_alloc, and then does not.
ARAMID_API void keep_local(const local_key& key, void* value, destroy_local destroy);
ARAMID_API void drop_local(const local_key& key) noexcept;

}  // namespace aramid::inline v0::detail
