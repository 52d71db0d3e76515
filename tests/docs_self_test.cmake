# Proves that docs.cmake objects: a page and a source that it accepts, then twins that are broken in one place each.
#
#   cmake -DDOCS=<docs.cmake> -DBINARY_DIR=<scratch> -P docs_self_test.cmake
cmake_minimum_required(VERSION 3.25)

set(page "${BINARY_DIR}/page.md")
set(source "${BINARY_DIR}/page_test.cpp")

# What CMake's lists would trip over, an empty line and deeper indentation are in the sound ones.
set(sound_source [=[
TEST(page, one) {
  // row: one; and [more]
  auto f = spawn([&] { int a[2] = {'\\', ';'}; });

  for (;;) {
    f.join();
  }
  // end
}
// row: two
int two();
// end
]=])
set(sound_page [=[
# A page

```cpp
auto f = spawn([&] { int a[2] = {'\\', ';'}; });

for (;;) {
  f.join();
}
```

A whole program is none of its business:

```cpp
#include <cstdio>
int main() {}
```

```cpp
int two();
```
]=])

function(run_docs result_out output_out page_text source_text)
  file(WRITE "${page}" "${page_text}")
  file(WRITE "${source}" "${source_text}")
  execute_process(COMMAND ${CMAKE_COMMAND} "-DPAGES=${page}|${source}" -P ${DOCS}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  set(${result_out} "${result}" PARENT_SCOPE)
  set(${output_out} "${output}" PARENT_SCOPE)
endfunction()

# refuses(PAGE|SOURCE <complaint> <from> <to>): with <from> replaced by <to> in the page or the source, docs fails and says so.
function(refuses where complaint from to)
  set(page_text "${sound_page}")
  set(source_text "${sound_source}")
  if(where STREQUAL "PAGE")
    string(REPLACE "${from}" "${to}" page_text "${sound_page}")
  else()
    string(REPLACE "${from}" "${to}" source_text "${sound_source}")
  endif()
  if("${page_text}${source_text}" STREQUAL "${sound_page}${sound_source}")
    message(SEND_ERROR "'${from}' is not in what is to be broken")
  endif()
  run_docs(result output "${page_text}" "${source_text}")
  if(result EQUAL 0 OR NOT output MATCHES "${complaint}")
    message(SEND_ERROR "expected '${complaint}'; got exit ${result} and\n${output}")
  endif()
endfunction()

run_docs(result output "${sound_page}" "${sound_source}")
if(NOT result EQUAL 0)
  message(FATAL_ERROR "docs refuses the sound page:\n${output}")
endif()

refuses(PAGE "page.md:3: a block that is no row of" "f.join()" "f.wait()")
refuses(PAGE "page.md:3: a block that is no row of" "{\n  f" "{\nf")
refuses(PAGE "page.md:3: a block that is no row of" ";\n\nfor" ";\nfor")
refuses(PAGE "page.md:3: a block that is no row of" "';'" "' '")
refuses(PAGE "page_test.cpp: row 'two' is not in" "```cpp\nint two();\n```\n" "")
refuses(PAGE "a block of 'python', which nothing tests" "```cpp\nint two" "```python\nint two")
refuses(PAGE "page.md:18: a block without an end" "two();\n```" "two();\n")
refuses(SOURCE "page.md:3: a block that is no row of" "f.join()" "f.wait()")
refuses(SOURCE "row 'three' is not in" "// row: two\n" "// row: three\nint three();\n// end\n// row: two\n")
refuses(SOURCE "there are two rows 'two'" "// row: two\n" "// row: two\nint two();\n// end\n// row: two\n")
refuses(SOURCE "row 'two' has no end" "int two();\n// end\n" "int two();\n")
refuses(SOURCE "row 'one; and \\[more\\]' has no end" "  // end\n" "")
