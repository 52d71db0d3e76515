# Looks at the machine code around a switch (x86-64). A fiber that has been switched away from may come back on another thread, so
# no function that holds a switch may reach a thread_local: the compiler would be free to take its address before the switch and to
# use it after. And the jump has to be jumped to, or every return behind it is mispredicted (execution_switch.hpp).
#
#   cmake -DLIBRARY=<libaramid_runtime, or a program> -DOBJDUMP=<objdump> [-DEXPECTED=<a function that is known to hold one>;...]
#         -P switch_code.cmake
cmake_minimum_required(VERSION 3.25)

execute_process(
  COMMAND ${OBJDUMP} --disassemble --reloc --demangle --no-show-raw-insn ${LIBRARY}
  OUTPUT_VARIABLE code COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE ";" "," code "${code}")
string(REGEX REPLACE "\n\n+" ";" functions "${code}")

set(with_switch "")
set(failed FALSE)
foreach(function IN LISTS functions)
  # The jump's operand: a relocation in an archive, a name or a slot of the table in a linked library.
  if(NOT function MATCHES "jump_fcontext" OR NOT function MATCHES "<(aramid::[^\n]*)>:\n")
    continue()
  endif()
  set(name "${CMAKE_MATCH_1}")
  list(APPEND with_switch "${name}")
  string(REPLACE "%fs:0x28" "" without_stack_protector "${function}")
  if(without_stack_protector MATCHES "\n([^\n]*%fs:[^\n]*)")
    message("${name} reaches a thread_local: ${CMAKE_MATCH_1}")
    set(failed TRUE)
  endif()
  if(function MATCHES "call[^\n]*\n?[^\n]*jump_fcontext")
    message("${name} calls jump_fcontext")
    set(failed TRUE)
  endif()
endforeach()

# If these are not found it is this script that does not see.
if(NOT EXPECTED)
  set(EXPECTED "worker::park" "worker::yield" "stack_loop::main")
endif()
foreach(expected IN LISTS EXPECTED)
  if(NOT with_switch MATCHES "${expected}")
    message("no switch found in ${expected}; found: ${with_switch}")
    set(failed TRUE)
  endif()
endforeach()
if(failed)
  message(FATAL_ERROR "the code of the switch is not what it must be")
endif()
message("${with_switch}")
