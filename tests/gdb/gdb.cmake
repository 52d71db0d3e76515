# cmake -DGDB=… -DPROGRAM=… -DSCRIPT=… -DDIRECTORY=… -P gdb.cmake: what the gdb script says of PROGRAM while it stands still, and of its core.
function(expect_all output)
  foreach(wanted IN ITEMS
      "3 fibers"
      "fiber 'root' [^\n]* running on thread"
      "fiber 'waits' [^\n]* waiting in channel::receive"
      "fiber 'late' [^\n]* not started"
      "in [^\n]*function_that_waits"
      "in [^\n]*function_that_runs")
    if(NOT output MATCHES "${wanted}")
      message(FATAL_ERROR "gdb does not say \"${wanted}\", but\n${output}")
    endif()
  endforeach()
endfunction()

set(commands -ex "aramid fibers" -ex "aramid bt")
set(options -nx -batch -ex "set debuginfod enabled off" -ex "source ${SCRIPT}")
execute_process(
  COMMAND ${GDB} ${options} -ex "run" ${commands} -ex "aramid bt 999999" -ex "kill" ${PROGRAM}
  OUTPUT_VARIABLE live ERROR_VARIABLE live_errors)
expect_all("${live}${live_errors}")
if(NOT live_errors MATCHES "there is no fiber 999999")
  message(FATAL_ERROR "gdb does not say that there is no such fiber, but\n${live_errors}")
endif()

# The kernel's core: gdb's own gives up at the guards of stacks.
file(READ /proc/sys/kernel/core_pattern pattern)
if(NOT pattern STREQUAL "core\n")
  message(STATUS "this machine gives its cores to somebody else (${pattern}), so there is none to look at")
  return()
endif()
file(REMOVE_RECURSE ${DIRECTORY})
file(MAKE_DIRECTORY ${DIRECTORY})
execute_process(COMMAND sh -c "ulimit -c unlimited && exec ${PROGRAM}" WORKING_DIRECTORY ${DIRECTORY})
file(GLOB core ${DIRECTORY}/core*)
execute_process(COMMAND ${GDB} ${options} ${commands} ${PROGRAM} ${core} OUTPUT_VARIABLE dead ERROR_VARIABLE dead_errors)
expect_all("${dead}${dead_errors}")
file(REMOVE_RECURSE ${DIRECTORY})
