# Finds c-ares and defines cares::cares. Also installed: a static aramid::io needs it again where it is
# linked. (c-ares has a package of its own for CMake, which Debian leaves out.)
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(PC_CARES QUIET libcares)
endif()

find_path(cares_INCLUDE_DIR ares.h HINTS ${PC_CARES_INCLUDE_DIRS})
find_library(cares_LIBRARY cares HINTS ${PC_CARES_LIBRARY_DIRS})
mark_as_advanced(cares_INCLUDE_DIR cares_LIBRARY)

set(cares_VERSION "")
if(EXISTS "${cares_INCLUDE_DIR}/ares_version.h")
  file(STRINGS "${cares_INCLUDE_DIR}/ares_version.h" version_lines REGEX "ARES_VERSION_STR +\"")
  string(REGEX MATCH "\"([0-9.]+)" matched "${version_lines}")
  set(cares_VERSION "${CMAKE_MATCH_1}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(cares
  REQUIRED_VARS cares_LIBRARY cares_INCLUDE_DIR
  VERSION_VAR cares_VERSION)

if(cares_FOUND AND NOT TARGET cares::cares)
  add_library(cares::cares UNKNOWN IMPORTED)
  set_target_properties(cares::cares PROPERTIES
    IMPORTED_LOCATION "${cares_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${cares_INCLUDE_DIR}")
endif()
