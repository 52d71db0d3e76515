// Names for addresses of code: what the dynamic linker knows (exported functions), else what the module's file says of the others, as long
// as it has not been stripped. With neither, an offset that addr2line reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

class module_symbols;

/// Keeps what it has found: many fibers wait in the same places. Throws std::bad_alloc.
class symbols {
public:
  symbols();
  ~symbols();

  /// "0x55… fetch(std::string const&)+0x52 (/usr/bin/crawler+0xf3e2)"
  [[nodiscard]] const std::string& describe(std::uintptr_t address);

private:
  [[nodiscard]] std::string find(std::uintptr_t address);

  std::unordered_map<std::uintptr_t, std::string> found_;
  std::map<std::string, std::unique_ptr<module_symbols>> modules_;  // by path
};

}  // namespace aramid::inline v0::detail
