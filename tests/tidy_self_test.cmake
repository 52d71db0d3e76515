# Proves that tidy.cmake objects: a small tree that it accepts, then one broken twin for each rule,
# which it must refuse for the reason given.
#
#   cmake -DTIDY=<tidy.cmake> -DBINARY_DIR=<scratch> -DCXX=<compiler> -P tidy_self_test.cmake
cmake_minimum_required(VERSION 3.25)

set(tree "${BINARY_DIR}/tree")

function(write_sound_tree)
  file(REMOVE_RECURSE "${tree}")
  file(WRITE "${tree}/runtime/CMakeLists.txt"
    "target_sources(r PUBLIC include/aramid/detail/seam.hpp include/aramid/run.hpp\n"
    "  PRIVATE src/run.cpp)\n")
  file(WRITE "${tree}/runtime/include/aramid/detail/seam.hpp" "#pragma once\n")
  file(WRITE "${tree}/runtime/include/aramid/run.hpp"
    "#pragma once\n#include <aramid/detail/seam.hpp>\nint run();\n")
  file(WRITE "${tree}/runtime/src/worker.hpp" "#pragma once\n#include <boost/context/fiber.hpp>\n")
  file(WRITE "${tree}/runtime/src/run.cpp"
    "#include <aramid/run.hpp>\n#include \"worker.hpp\"\nint run() { return 0; }\n")
  file(WRITE "${tree}/io/CMakeLists.txt"
    "target_sources(i PUBLIC\n  include/aramid/aramid.hpp\n  include/aramid/io/asio.hpp\n  include/aramid/io/tcp.hpp\n"
    "  PRIVATE src/uring/ring.cpp) # src/gone.cpp\n")
  file(WRITE "${tree}/io/include/aramid/aramid.hpp"
    "#pragma once\n#include <aramid/io/tcp.hpp>\n#include <aramid/run.hpp>\n")
  file(WRITE "${tree}/io/include/aramid/io/asio.hpp"
    "#pragma once\n#include <aramid/run.hpp>\n#include <boost/asio/version.hpp>\n")
  file(WRITE "${tree}/io/include/aramid/io/tcp.hpp"
    "#pragma once\n#include <cstddef>\n#include <aramid/run.hpp>\nstd::size_t tcp();\n")
  file(WRITE "${tree}/io/src/uring/ring.hpp" "#pragma once\n#include <liburing.h>\n")
  file(WRITE "${tree}/io/src/uring/ring.cpp"
    "#include \"ring.hpp\"\n#include \"uring/ring.hpp\"\n#include <aramid/detail/seam.hpp>\n")
  file(WRITE "${tree}/tests/runtime/CMakeLists.txt" "aramid_add_test(t SOURCES run_test.cpp)\n")
  file(WRITE "${tree}/tests/runtime/run_test.cpp" "// mkstemp(\"/tmp/XXXXXX\")\n")
  file(WRITE "${tree}/examples/CMakeLists.txt" "aramid_add_example(hello)\n")
  file(WRITE "${tree}/examples/hello.cpp" "int main() {}\n")
  file(WRITE "${tree}/README.md" "a tree\n")
endfunction()

function(run_tidy result_out output_out)
  execute_process(
    COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${tree} -DBINARY_DIR=${BINARY_DIR}/units -DCXX=${CXX}
            -P ${TIDY}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  set(${result_out} "${result}" PARENT_SCOPE)
  set(${output_out} "${output}" PARENT_SCOPE)
endfunction()

function(expect_refusal complaint)
  run_tidy(result output)
  if(result EQUAL 0 OR NOT output MATCHES "${complaint}" OR NOT output MATCHES "complaints: [12]\n")
    message(SEND_ERROR "expected '${complaint}' and little else; got exit ${result} and\n${output}")
  endif()
endfunction()

# refuses(<complaint> <file> <text>): with <text> appended to <file>, tidy fails and says so.
function(refuses complaint file text)
  write_sound_tree()
  file(APPEND "${tree}/${file}" "${text}")
  expect_refusal("${complaint}")
endfunction()

write_sound_tree()
run_tidy(result output)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "tidy refuses the sound tree:\n${output}")
endif()

# 1. layers
refuses("run.cpp: includes <aramid/io/tcp.hpp>" runtime/src/run.cpp "#include <aramid/io/tcp.hpp>\n")
refuses("run.cpp: includes <aramid/aramid.hpp>" runtime/src/run.cpp "#include <aramid/aramid.hpp>\n")
refuses("run.cpp: includes <liburing.h>" runtime/src/run.cpp "  #  include <liburing.h>\n")
refuses("run.cpp: includes \"../../io/src/uring/ring.hpp\"" runtime/src/run.cpp
  "#include \"../../io/src/uring/ring.hpp\"\n")
refuses("ring.cpp: includes \"worker.hpp\"" io/src/uring/ring.cpp "#include \"worker.hpp\"\n")
refuses("ring.cpp: includes \"../../../runtime/src/worker.hpp\"" io/src/uring/ring.cpp
  "#include \"../../../runtime/src/worker.hpp\"\n")
refuses("ring.cpp: includes <aramid/worker.hpp>" io/src/uring/ring.cpp "#include <aramid/worker.hpp>\n")
refuses("run.hpp: includes <boost/context/fiber.hpp>" runtime/include/aramid/run.hpp
  "#include <boost/context/fiber.hpp>\n")
refuses("tcp.hpp: includes <liburing.h>" io/include/aramid/io/tcp.hpp "#include <liburing.h>\n")
refuses("run.hpp: includes \"../../src/worker.hpp\"" runtime/include/aramid/run.hpp
  "#include \"../../src/worker.hpp\"\n")
refuses("tcp.hpp: includes <boost/asio/version.hpp>" io/include/aramid/io/tcp.hpp "#include <boost/asio/version.hpp>\n")
refuses("ring.cpp: includes <boost/beast/core.hpp>" io/src/uring/ring.cpp "#include <boost/beast/core.hpp>\n")
refuses("ring.cpp: includes <aramid/io/asio.hpp>" io/src/uring/ring.cpp "#include <aramid/io/asio.hpp>\n")

# 2. headers
refuses("tcp.hpp: does not compile alone" io/include/aramid/io/tcp.hpp "std::vector<int> late();\n")
refuses("tcp.hpp: does not compile alone" io/include/aramid/io/tcp.hpp
  "inline int f(int unused) { return 0; }\n")
write_sound_tree()
file(WRITE "${tree}/runtime/src/worker.hpp" "int worker();\n")
expect_refusal("worker.hpp: has no #pragma once")

# 3. umbrella
write_sound_tree()
file(WRITE "${tree}/io/include/aramid/aramid.hpp" "#pragma once\n#include <aramid/run.hpp>\n")
expect_refusal("aramid.hpp: does not include <aramid/io/tcp.hpp>")
refuses("aramid.hpp: includes <aramid/io/asio.hpp>" io/include/aramid/aramid.hpp "#include <aramid/io/asio.hpp>\n")

# 4. lists
refuses("io/src/lost.cpp: stands in no" io/src/lost.cpp "\n")
refuses("tests/runtime/lost_test.cpp: stands in no" tests/runtime/lost_test.cpp "\n")
refuses("examples/lost.cpp: stands in no" examples/lost.cpp "\n")
refuses("detail/lost.hpp: stands in no" runtime/include/aramid/detail/lost.hpp "#pragma once\n")
refuses("lists src/gone.cpp, which does not exist" io/CMakeLists.txt "x(src/gone.cpp)\n")
refuses("lists gone.cpp, which does not exist" examples/CMakeLists.txt "aramid_add_example(gone)\n")

# 5. leftovers, spelt so that tidy does not find them here
foreach(halves IN ITEMS "TO|DO" "FIX|ME" "X|XX")
  string(REPLACE "|" "" leftover "${halves}")
  refuses("run.cpp: has a leftover ${leftover}" runtime/src/run.cpp "// ${leftover}: later\n")
endforeach()

# 6. thread_locals
refuses("run.cpp: has a thread_local of its own" runtime/src/run.cpp "static thread_local int calls = 0;\n")
refuses("tcp.hpp: has a thread_local of its own" io/include/aramid/io/tcp.hpp "inline __thread int calls = 0;\n")

# 7. entries
foreach(flag IN ITEMS IOSQE_IO_LINK IOSQE_IO_HARDLINK IOSQE_ASYNC)
  refuses("ring.cpp: links entries, or forces one" io/src/uring/ring.cpp "void f(entry& e) { e.flags |= ${flag}; }\n")
endforeach()

# 6 and 7 in comments
write_sound_tree()
file(APPEND "${tree}/runtime/src/run.cpp" "// No thread_local here.\nint not_IOSQE_ASYNC();\n/// No IOSQE_IO_LINK.\n")
run_tidy(result output)
if(NOT result EQUAL 0)
  message(SEND_ERROR "tidy refuses a comment:\n${output}")
endif()
