# How this project makes its targets. None of it reaches a project that uses aramid.
include_guard(GLOBAL)

# Every target of ours: the language level, and at top level the warnings.
# CONVERSIONS adds the warnings that are sane for the libraries and noise elsewhere.
function(aramid_target_defaults target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "CONVERSIONS" "" "")
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF C_STANDARD 11)
  target_compile_options(${target} PRIVATE -fno-omit-frame-pointer)
  if(ARAMID_ENABLE_ASSERT)
    target_compile_definitions(${target} PRIVATE ARAMID_ENABLE_ASSERT=1)
  endif()
  if(NOT PROJECT_IS_TOP_LEVEL)
    return()
  endif()
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wshadow -Wformat=2 -Wundef
    $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Woverloaded-virtual -Wextra-semi>)
  if(arg_CONVERSIONS)
    target_compile_options(${target} PRIVATE
      -Wconversion -Wsign-conversion -Wcast-align
      $<$<COMPILE_LANGUAGE:CXX>:-Wold-style-cast>)
  endif()
endfunction()

# aramid_add_library(<layer>): the library aramid_<layer>, known as aramid::<layer>.
# The caller adds its sources, its public headers (FILE_SET HEADERS) and what it links.
function(aramid_add_library layer)
  set(target aramid_${layer})
  add_library(${target})
  add_library(aramid::${layer} ALIAS ${target})
  aramid_target_defaults(${target} CONVERSIONS)

  # Before 1.0 a minor version may change the ABI.
  set(soversion ${PROJECT_VERSION_MAJOR})
  if(PROJECT_VERSION_MAJOR EQUAL 0)
    set(soversion ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  endif()
  set_target_properties(${target} PROPERTIES
    EXPORT_NAME ${layer}
    VERSION ${PROJECT_VERSION}
    SOVERSION ${soversion}
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    # The layers lie side by side: io finds runtime wherever the pair is put.
    INSTALL_RPATH "$ORIGIN")

  get_target_property(type ${target} TYPE)
  if(type STREQUAL "SHARED_LIBRARY")
    target_compile_definitions(${target} PUBLIC ARAMID_SHARED)
  endif()
endfunction()

# aramid_add_test(<name> SOURCES <file>... [LIBS <target>...] [TIMEOUT <seconds>] [SHARDS <count>])
# One GoogleTest executable for a layer or a topic; each of its tests becomes a CTest test with
# the label <name>. Without a source there is nothing to build.
# With SHARDS, and under a sanitizer, which takes longer to start a program than most tests to run, CTest has <count> tests instead,
# <name>.shard_<i>, each a process with its share of the program's tests one after another. What fails, or was running at a
# timeout, stands in its output. The other presets run each test alone, so both ways are tried.
function(aramid_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT;SHARDS" "SOURCES;LIBS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "aramid_add_test(${name}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_SOURCES)
    message(STATUS "${name}: no sources, skipped")
    return()
  endif()

  add_executable(${name} ${arg_SOURCES})
  aramid_target_defaults(${name})
  target_link_libraries(${name} PRIVATE aramid_private ${arg_LIBS} GTest::gtest_main)
  target_precompile_headers(${name} REUSE_FROM test_headers)
  # gcc says nothing of UBSan to the preprocessor. What the tests ask for is its vptr check.
  if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=[a-z,]*undefined" AND NOT CMAKE_CXX_FLAGS MATCHES "-fno-sanitize=vptr")
    target_compile_definitions(${name} PRIVATE ARAMID_UNDER_UBSAN=1)
  endif()

  set(properties LABELS ${name})
  if(arg_TIMEOUT)
    list(APPEND properties TIMEOUT ${arg_TIMEOUT})
  endif()
  if(arg_SHARDS AND CMAKE_CXX_FLAGS MATCHES "-fsanitize")
    math(EXPR last "${arg_SHARDS} - 1")
    foreach(shard RANGE ${last})
      add_test(NAME ${name}.shard_${shard} COMMAND ${name})
      set_tests_properties(${name}.shard_${shard} PROPERTIES
        ${properties} ENVIRONMENT "GTEST_TOTAL_SHARDS=${arg_SHARDS};GTEST_SHARD_INDEX=${shard}")
    endforeach()
    return()
  endif()
  # Listed when ctest starts, not when the build ends: a test program that crashes while it
  # lists its tests is then a failed test and not a failed build. CTest's names are GoogleTest's,
  # so that what failed can be given to --gtest_filter.
  gtest_discover_tests(${name}
    DISCOVERY_MODE PRE_TEST
    NO_PRETTY_VALUES
    DISCOVERY_TIMEOUT 60
    PROPERTIES ${properties})
endfunction()

# aramid_add_example(<name> [LIBS <target>...] [NO_TEST] [ARGS <arg>...] [PASS_REGEX <regex>...])
# Builds <name>.cpp and, unless NO_TEST says that a test of its own drives it, runs it under
# CTest as example.<name>: it must exit 0, and with PASS_REGEX its output must match as well.
function(aramid_add_example name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "NO_TEST" "" "LIBS;ARGS;PASS_REGEX")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "aramid_add_example(${name}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()

  add_executable(${name} ${name}.cpp)
  aramid_target_defaults(${name})
  target_link_libraries(${name} PRIVATE aramid::io ${arg_LIBS})

  if(arg_NO_TEST OR NOT ARAMID_BUILD_TESTS)
    return()
  endif()
  if(arg_PASS_REGEX)
    # CTest forgets the exit code once there is a PASS_REGULAR_EXPRESSION: run_example.cmake
    # looks at both.
    add_test(NAME example.${name}
      COMMAND ${CMAKE_COMMAND} "-DREGEX=${arg_PASS_REGEX}"
              -P ${PROJECT_SOURCE_DIR}/cmake/run_example.cmake -- $<TARGET_FILE:${name}> ${arg_ARGS})
  else()
    add_test(NAME example.${name} COMMAND ${name} ${arg_ARGS})
  endif()
  set_tests_properties(example.${name} PROPERTIES LABELS examples TIMEOUT 60)
endfunction()
