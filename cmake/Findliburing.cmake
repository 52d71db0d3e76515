# Finds liburing and defines liburing::liburing. Also installed: a static aramid::io needs it again
# where it is linked.
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(PC_LIBURING QUIET liburing)
endif()

find_path(liburing_INCLUDE_DIR liburing.h HINTS ${PC_LIBURING_INCLUDE_DIRS})
find_library(liburing_LIBRARY uring HINTS ${PC_LIBURING_LIBRARY_DIRS})
mark_as_advanced(liburing_INCLUDE_DIR liburing_LIBRARY)

# The headers tell their version from 2.4 on; 2.3 tells it through pkg-config only.
set(liburing_VERSION "")
if(EXISTS "${liburing_INCLUDE_DIR}/liburing/io_uring_version.h")
  file(STRINGS "${liburing_INCLUDE_DIR}/liburing/io_uring_version.h" version_lines
       REGEX "IO_URING_VERSION_(MAJOR|MINOR)")
  string(REGEX MATCH "VERSION_MAJOR +([0-9]+)" matched "${version_lines}")
  set(liburing_VERSION "${CMAKE_MATCH_1}")
  string(REGEX MATCH "VERSION_MINOR +([0-9]+)" matched "${version_lines}")
  string(APPEND liburing_VERSION ".${CMAKE_MATCH_1}")
elseif(PC_LIBURING_FOUND)
  set(liburing_VERSION "${PC_LIBURING_VERSION}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(liburing
  REQUIRED_VARS liburing_LIBRARY liburing_INCLUDE_DIR
  VERSION_VAR liburing_VERSION)

if(liburing_FOUND AND NOT TARGET liburing::liburing)
  add_library(liburing::liburing UNKNOWN IMPORTED)
  set_target_properties(liburing::liburing PROPERTIES
    IMPORTED_LOCATION "${liburing_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${liburing_INCLUDE_DIR}")
endif()
