// A static object that is there before anything runs, needs no memory, and is never destroyed, so that others may use it while statics die.
#pragma once

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

/// To be declared constinit.
template <class T>
union immortal {
  constexpr immortal() noexcept : value() {}
  constexpr ~immortal() {}  // not of the value

  immortal(const immortal&) = delete;
  immortal& operator=(const immortal&) = delete;

  T value;
};

}  // namespace aramid::inline v0::detail
