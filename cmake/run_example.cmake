# cmake -DREGEX=<regex>[;<regex>...] -P run_example.cmake -- <program> [<arg>...]
# Fails unless the program exits 0 and its output matches every regex.
set(command "")
set(past_dashes FALSE)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
  if(past_dashes)
    list(APPEND command "${CMAKE_ARGV${i}}")
  elseif("${CMAKE_ARGV${i}}" STREQUAL "--")
    set(past_dashes TRUE)
  endif()
endforeach()

execute_process(COMMAND ${command}
  OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE result)
message("${output}")
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${command}: exit ${result}")
endif()
foreach(regex IN LISTS REGEX)
  if(NOT output MATCHES "${regex}")
    message(FATAL_ERROR "${command}: the output does not match '${regex}'")
  endif()
endforeach()
