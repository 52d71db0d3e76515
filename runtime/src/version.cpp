// The version that was compiled into the library.
#include <aramid/version.hpp>

#define ARAMID_STRINGIFY_RAW(x) #x
#define ARAMID_STRINGIFY(x) ARAMID_STRINGIFY_RAW(x)

namespace aramid::inline v0 {

std::string_view version_string() noexcept {
  return ARAMID_STRINGIFY(ARAMID_VERSION_MAJOR) "." ARAMID_STRINGIFY(
      ARAMID_VERSION_MINOR) "." ARAMID_STRINGIFY(ARAMID_VERSION_PATCH);
}

}  // namespace aramid::inline v0
