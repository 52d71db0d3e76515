#include "resources.hpp"

#include <dirent.h>
#include <malloc.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string_view>

namespace soak {
namespace {

template <class Visit>
void for_each_entry(const char* directory, Visit visit) {
  DIR* const entries = ::opendir(directory);
  while (const dirent* const entry = entries != nullptr ? ::readdir(entries) : nullptr) {
    if (entry->d_name[0] != '.') {
      visit(std::string(directory) + '/' + entry->d_name);
    }
  }
  if (entries != nullptr) {
    ::closedir(entries);
  }
}

std::uint64_t resident() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word; status.ignore(std::numeric_limits<std::streamsize>::max(), '\n')) {
    if (std::uint64_t kib = 0; word == "VmRSS:" && status >> kib) {
      return kib;
    }
  }
  return 0;
}

/// mallinfo2 knows only the main arena, and sanitizers' malloc has no malloc_info worth the name.
std::uint64_t heap() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return 0;
#else
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* const out = ::open_memstream(&text, &size);
  ::malloc_info(0, out);
  std::fclose(out);
  const std::string_view xml(text, size);
  const std::size_t totals = xml.rfind("</heap>");
  const auto number = [&](std::string_view element) {  // its attribute `size`
    const std::size_t at = xml.find(element, totals);
    const std::size_t value = xml.find("size=\"", at);
    return at == xml.npos || value == xml.npos ? 0 : std::strtoull(xml.data() + value + 6, nullptr, 10);
  };
  const std::uint64_t used =
      number("<system type=\"current\"") + number("<total type=\"mmap\"") - number("<total type=\"fast\"") - number("<total type=\"rest\"");
  std::free(text);
  return used / 1024;
#endif
}

}  // namespace

resources of_process(std::uint64_t pool_threads) {
  resources now;
  for_each_entry("/proc/self/fd", [&](const std::string&) { ++now.descriptors; });
  for_each_entry("/proc/self/task", [&](const std::string& task) {
    std::string name;
    std::ifstream(task + "/comm") >> name;
    ++(name.starts_with("iou-") ? now.kernel_threads : now.threads);
  });
  now.threads -= pool_threads;
  now.pool_threads = pool_threads;
  now.heap_kib = heap();
  now.resident_kib = resident();
  return now;
}

std::string list_of_descriptors() {
  std::string list;
  for_each_entry("/proc/self/fd", [&](const std::string& path) {
    std::array<char, 256> target{};
    if (::readlink(path.c_str(), target.data(), target.size() - 1) > 0) {
      list += path + " -> " + target.data() + '\n';
    }
  });
  return list;
}

std::string differences(const resources& before, const resources& now) {
  std::string all;
  const auto compare = [&](const char* what, std::uint64_t was, std::uint64_t is) {
    if (was != is) {
      all += std::string(all.empty() ? "" : ", ") + what + ": " + std::to_string(was) + " before, " + std::to_string(is) + " now";
    }
  };
  compare("descriptors", before.descriptors, now.descriptors);
  compare("threads", before.threads, now.threads);
  compare("fibers", before.fibers, now.fibers);
  compare("operations under way", before.operations, now.operations);
  compare("connections", before.connections, now.connections);
  return all;
}

}  // namespace soak
