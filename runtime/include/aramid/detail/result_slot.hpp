// A result of type T, where T may be void or a reference.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

/// `fill` calls `fn` and keeps what it returns; `take` moves that out, `look` does not.
template <class T>
struct result_slot {
  std::optional<T> value;
  template <class Fn>
  void fill(Fn& fn) {
    value.emplace(std::invoke(std::move(fn)));
  }
  T take() { return std::move(*value); }
  const T& look() const noexcept { return *value; }
};
template <class T>
struct result_slot<T&> {
  T* value = nullptr;
  template <class Fn>
  void fill(Fn& fn) {
    value = std::addressof(std::invoke(std::move(fn)));
  }
  T& take() { return *value; }
  T& look() const noexcept { return *value; }
};
template <>
struct result_slot<void> {
  template <class Fn>
  void fill(Fn& fn) {
    std::invoke(std::move(fn));
  }
  void take() {}
  void look() const noexcept {}
};

}  // namespace aramid::inline v0::detail
