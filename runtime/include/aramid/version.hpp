// The version of aramid, in one place: CMake and pkg-config read it from here.
#pragma once

#include <string_view>

#include <aramid/detail/config.hpp>

#define ARAMID_VERSION_MAJOR 0
#define ARAMID_VERSION_MINOR 1
#define ARAMID_VERSION_PATCH 0

namespace aramid::inline v0 {

/// The version of the library that is linked, as "major.minor.patch"; with a shared library it may be
/// newer than the macros above, which are those of the headers.
/// Threads: any.
[[nodiscard]] ARAMID_API std::string_view version_string() noexcept;

}  // namespace aramid::inline v0
