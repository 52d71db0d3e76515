# aramid_add_go_program(<name> <source directory>)
# Builds a Go program that needs no module but its own, without the network and with every cache in
# the build directory. Does nothing where there is no `go`: comparisons then say so.
find_program(ARAMID_GO go DOC "Go, for the peers of the benchmarks")

function(aramid_add_go_program name source_directory)
  if(NOT ARAMID_GO)
    message(STATUS "${name}: no Go found, left out")
    return()
  endif()
  set(program ${CMAKE_CURRENT_BINARY_DIR}/${name})
  set(caches ${CMAKE_CURRENT_BINARY_DIR}/go)
  add_custom_command(
    OUTPUT ${program}
    COMMAND ${CMAKE_COMMAND} -E env
            GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local GOWORK=off CGO_ENABLED=0
            GOCACHE=${caches}/cache GOPATH=${caches}/path
            ${ARAMID_GO} build -o ${program} .
    DEPENDS ${source_directory}/main.go ${source_directory}/go.mod
    WORKING_DIRECTORY ${source_directory}
    COMMENT "Building Go program ${name}"
    VERBATIM)
  # Not ${name}: Ninja would have the target and its file under one name.
  add_custom_target(${name}_program ALL DEPENDS ${program})
endfunction()
