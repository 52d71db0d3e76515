#include "cpu_count.hpp"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

namespace aramid::inline v0::detail {

namespace {

unsigned affinity_cpus() noexcept {
  // Machines with more than CPU_SETSIZE CPUs answer EINVAL until the mask is large enough.
  for (std::size_t cpus = CPU_SETSIZE; cpus <= std::size_t{1} << 16; cpus *= 2) {
    cpu_set_t* const set = CPU_ALLOC(cpus);
    if (set == nullptr) {
      return 1;
    }
    const std::size_t size = CPU_ALLOC_SIZE(cpus);
    const bool known = sched_getaffinity(0, size, set) == 0;
    const int count = known ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (known) {
      return static_cast<unsigned>(std::max(count, 1));
    }
    if (errno != EINVAL) {
      break;
    }
  }
  return 1;
}

/// The quota of one cgroup directory, in CPUs, or infinity.
double quota_of(const std::string& directory) {
  double quota = 0;
  double period = 0;
  if (std::ifstream v2(directory + "/cpu.max"); v2 >> quota >> period) {  // "max 100000" fails to parse: no limit
    return period > 0 ? quota / period : INFINITY;
  }
  std::ifstream v1_quota(directory + "/cpu.cfs_quota_us");
  std::ifstream v1_period(directory + "/cpu.cfs_period_us");
  if (v1_quota >> quota && v1_period >> period && quota > 0 && period > 0) {
    return quota / period;
  }
  return INFINITY;
}

/// The least quota from this process's cgroup up to the root.
double cgroup_cpus() {
  double least = INFINITY;
  std::ifstream memberships("/proc/self/cgroup");
  for (std::string line; std::getline(memberships, line);) {
    const std::size_t path_at = line.rfind(':');
    if (path_at == std::string::npos) {
      continue;
    }
    const bool v2 = line.compare(0, 3, "0::") == 0;
    if (!v2 && line.find("cpu") == std::string::npos) {
      continue;
    }
    const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
    std::string path = line.substr(path_at + 1);
    // Inside a container the path may not exist below the mount; the mount's own files then are ours.
    for (;;) {
      least = std::min(least, quota_of(root + path));
      const std::size_t slash = path.rfind('/');
      if (path.empty() || slash == std::string::npos) {
        break;
      }
      path.resize(slash);
    }
  }
  return least;
}

}  // namespace

unsigned usable_cpus() noexcept {
  const unsigned allowed = affinity_cpus();
  try {
    const double quota = cgroup_cpus();
    if (std::isfinite(quota)) {
      return std::clamp(static_cast<unsigned>(std::ceil(quota)), 1U, allowed);
    }
  } catch (...) {  // no memory to read files with: the mask is a good answer too
  }
  return allowed;
}

}  // namespace aramid::inline v0::detail
