# Install rules: the libraries and their headers, find_package(aramid) and pkg-config.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/aramid)
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# One export per layer: a consumer of aramid::runtime alone needs neither liburing nor c-ares, one of aramid::io no Boost.Asio.
foreach(layer IN ITEMS runtime io asio)
  install(TARGETS aramid_${layer} EXPORT aramid_${layer}
    ARCHIVE COMPONENT aramid_${layer}
    LIBRARY COMPONENT aramid_${layer} NAMELINK_COMPONENT aramid_${layer}
    FILE_SET HEADERS COMPONENT aramid_${layer})
  install(EXPORT aramid_${layer}
    NAMESPACE aramid::
    FILE aramid-${layer}-targets.cmake
    DESTINATION ${package_dir}
    COMPONENT aramid_${layer})
endforeach()

configure_package_config_file(cmake/aramid-config.cmake.in aramid-config.cmake
  INSTALL_DESTINATION ${package_dir}
  NO_SET_AND_CHECK_MACRO)
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(compatibility SameMinorVersion)
else()
  set(compatibility SameMajorVersion)
endif()
write_basic_package_version_file(aramid-config-version.cmake COMPATIBILITY ${compatibility})
install(FILES
    ${CMAKE_CURRENT_BINARY_DIR}/aramid-config.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/aramid-config-version.cmake
  DESTINATION ${package_dir} COMPONENT aramid_runtime)
install(FILES tools/aramid-gdb.py
  DESTINATION ${CMAKE_INSTALL_DATADIR}/aramid COMPONENT aramid_runtime)
install(FILES cmake/Findcares.cmake cmake/Findliburing.cmake
  DESTINATION ${package_dir} COMPONENT aramid_io)

# pkg-config. A static archive drags its private dependencies along, so they stand in Libs and
# Requires, where `pkg-config --libs` gives them without --static; a shared library names its own.
cmake_path(IS_ABSOLUTE CMAKE_INSTALL_LIBDIR libdir_is_absolute)
cmake_path(IS_ABSOLUTE CMAKE_INSTALL_INCLUDEDIR includedir_is_absolute)
if(libdir_is_absolute OR includedir_is_absolute)
  set(PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
  set(PC_LIBDIR "${CMAKE_INSTALL_FULL_LIBDIR}")
  set(PC_INCLUDEDIR "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
else()
  # Relative to the .pc file: the installed tree may be moved, and `cmake --install --prefix` works.
  file(RELATIVE_PATH up "/${pkgconfig_dir}" "/")
  set(PC_PREFIX "\${pcfiledir}/${up}")
  string(REGEX REPLACE "/$" "" PC_PREFIX "${PC_PREFIX}")
  set(PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
  set(PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()

get_target_property(library_type aramid_runtime TYPE)
if(library_type STREQUAL "SHARED_LIBRARY")
  set(PC_RUNTIME_LIBS "")
  set(PC_IO_REQUIRES "")
  set(PC_CFLAGS " -DARAMID_SHARED")
else()
  # Boost has no .pc file. Its directory is named only where the linker does not look by itself.
  get_target_property(configurations Boost::context IMPORTED_CONFIGURATIONS)
  list(GET configurations 0 configuration)
  get_target_property(context_location Boost::context IMPORTED_LOCATION_${configuration})
  cmake_path(GET context_location PARENT_PATH context_dir)
  cmake_path(GET context_location STEM context_name)
  string(REGEX REPLACE "^lib" "" context_name "${context_name}")
  set(PC_RUNTIME_LIBS " -l${context_name} -pthread")
  if(NOT context_dir IN_LIST CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES)
    string(PREPEND PC_RUNTIME_LIBS " -L${context_dir}")
  endif()
  set(PC_IO_REQUIRES ", libcares >= 1.16, liburing >= 2.3")
  set(PC_CFLAGS "")
endif()
foreach(layer IN ITEMS runtime io)
  configure_file(cmake/aramid-${layer}.pc.in aramid-${layer}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/aramid-${layer}.pc
    DESTINATION ${pkgconfig_dir} COMPONENT aramid_${layer})
endforeach()
