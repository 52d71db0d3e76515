// A static object that needs no memory and is never destroyed, so that others may use it while statics die.
#pragma once

#include <new>

namespace aramid::inline v0::detail {

/// The one `T`, made by the first call. Nothing is left to do at exit: std::atexit needs memory, and runs while threads may still be there.
template <class T>
[[nodiscard]] T& immortal() noexcept {
  alignas(T) static unsigned char place[sizeof(T)];
  static T* const made = ::new (static_cast<void*>(place)) T;
  return *made;
}

}  // namespace aramid::inline v0::detail
