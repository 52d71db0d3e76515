#include "symbols.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <span>
#include <sstream>
#include <string_view>

namespace aramid::inline v0::detail {

/// The symbol table of an ELF file (man 5 elf), which is mapped while this lives. Whatever is wrong with the file, it then knows no names.
class module_symbols {
public:
  explicit module_symbols(const char* path) noexcept {
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    struct stat about {};
    if (file >= 0 && ::fstat(file, &about) == 0 && about.st_size > 0) {
      const auto size = static_cast<std::size_t>(about.st_size);
      void* const mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
      if (mapped != MAP_FAILED) {
        bytes_ = {static_cast<const unsigned char*>(mapped), size};
        find_tables();
      }
    }
    if (file >= 0) {
      ::close(file);
    }
  }
  ~module_symbols() {
    if (!bytes_.empty()) {
      ::munmap(const_cast<unsigned char*>(bytes_.data()), bytes_.size());
    }
  }

  module_symbols(const module_symbols&) = delete;
  module_symbols& operator=(const module_symbols&) = delete;

  struct found {
    const char* name = nullptr;
    std::uintptr_t start = 0;
  };

  /// The function around `address`, which is counted from where the module has been loaded.
  [[nodiscard]] found around(std::uintptr_t address) const noexcept {
    for (const ElfW(Sym)& each : symbols_) {
      // ELF32_ST_TYPE and ELF64_ST_TYPE are the same.
      if (ELF64_ST_TYPE(each.st_info) == STT_FUNC && each.st_value <= address && address - each.st_value < each.st_size &&
          each.st_name < names_.size()) {
        return {names_.data() + each.st_name, each.st_value};
      }
    }
    return {};
  }

private:
  /// `count` objects at `offset`; none if the file ends before.
  template <class T>
  [[nodiscard]] std::span<const T> at(std::size_t offset, std::size_t count) const noexcept {
    if (offset > bytes_.size() || count > (bytes_.size() - offset) / sizeof(T) || offset % alignof(T) != 0) {
      return {};
    }
    return {reinterpret_cast<const T*>(bytes_.data() + offset), count};
  }

  void find_tables() noexcept {
    const auto header = at<ElfW(Ehdr)>(0, 1);
    if (header.empty() || std::memcmp(header[0].e_ident, ELFMAG, SELFMAG) != 0 || header[0].e_shentsize != sizeof(ElfW(Shdr))) {
      return;
    }
    const auto sections = at<ElfW(Shdr)>(header[0].e_shoff, header[0].e_shnum);
    for (const ElfW(Shdr)& each : sections) {
      if (each.sh_type == SHT_SYMTAB && each.sh_link < sections.size()) {
        const ElfW(Shdr)& names = sections[each.sh_link];
        const auto text = at<char>(names.sh_offset, names.sh_size);
        if (!text.empty() && text.back() == '\0') {  // so that every name ends
          names_ = {text.data(), text.size()};
          symbols_ = at<ElfW(Sym)>(each.sh_offset, each.sh_size / sizeof(ElfW(Sym)));
        }
        return;
      }
    }
  }

  std::span<const unsigned char> bytes_;
  std::span<const ElfW(Sym)> symbols_;
  std::string_view names_;
};

symbols::symbols() = default;
symbols::~symbols() = default;

const std::string& symbols::describe(std::uintptr_t address) {
  const auto [place, is_new] = found_.try_emplace(address);
  if (is_new) {
    place->second = find(address);
  }
  return place->second;
}

std::string symbols::find(std::uintptr_t address) {
  std::ostringstream text;
  text << std::hex << "0x" << address;
  Dl_info module{};
  link_map* loaded = nullptr;
  if (dladdr1(reinterpret_cast<const void*>(address), &module, reinterpret_cast<void**>(&loaded), RTLD_DL_LINKMAP) == 0 ||
      module.dli_fname == nullptr || loaded == nullptr) {
    return std::move(text).str();
  }
  const std::uintptr_t offset = address - loaded->l_addr;
  module_symbols::found found;
  if (module.dli_sname != nullptr) {
    found = {module.dli_sname, reinterpret_cast<std::uintptr_t>(module.dli_saddr) - loaded->l_addr};
  } else {
    // The main program's own path may be relative to where it was started.
    const char* const path = loaded->l_name != nullptr && *loaded->l_name != '\0' ? loaded->l_name : "/proc/self/exe";
    std::unique_ptr<module_symbols>& file = modules_[path];
    if (file == nullptr) {
      file = std::make_unique<module_symbols>(path);
    }
    found = file->around(offset);
  }
  if (found.name != nullptr) {
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> plain(abi::__cxa_demangle(found.name, nullptr, nullptr, &status),
                                                            &std::free);
    text << ' ' << (plain != nullptr ? plain.get() : found.name) << "+0x" << offset - found.start;
  }
  text << " (" << module.dli_fname << "+0x" << offset << ')';
  return std::move(text).str();
}

}  // namespace aramid::inline v0::detail
