# Looks that no library has a static with a destructor (DESIGN §4): it would run while threads still use what it destroys, and to register it
# takes memory before there is anybody to tell that there was none.
#
#   cmake "-DLIBRARIES=<archive>|<archive>..." -DNM=<nm> -P static_destructors.cmake
cmake_minimum_required(VERSION 3.25)

string(REPLACE "|" ";" libraries "${LIBRARIES}")
if(NOT libraries)
  message(FATAL_ERROR "no libraries to look at")
endif()
foreach(library IN LISTS libraries)
  execute_process(
    COMMAND ${NM} --undefined-only --print-file-name ${library}
    OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  if(NOT symbols MATCHES "pthread|__gxx_personality")
    message(FATAL_ERROR "${library}: nothing of what any library of ours uses; is that one?")
  endif()
  if(symbols MATCHES "([^\n]*__cxa_atexit[^\n]*)")
    message(SEND_ERROR "a static with a destructor: ${CMAKE_MATCH_1}")
  endif()
endforeach()
