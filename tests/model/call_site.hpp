// Where an atomic operation stands in the source: what a trace names and what a weakening picks out.
//
// std::source_location would do, but clang 14 does not have it; the builtins below work in both compilers, also
// through the nested default argument `call_site s = call_site::here()`.
#pragma once

namespace model {

struct call_site {
  const char* file = "";
  int line = 0;
  const char* function = "";

  static constexpr call_site here(const char* file = __builtin_FILE(), int line = __builtin_LINE(),
                                  const char* function = __builtin_FUNCTION()) noexcept {
    return {file, line, function};
  }
};

}  // namespace model
