#pragma once

namespace aramid::inline v0::detail {

/// How many threads this process may keep busy: the CPUs of its affinity mask, no more than its cgroup's CPU quota
/// rounded up (man 7 cgroups; cgroup v2 cpu.max, v1 cpu.cfs_quota_us). At least 1.
unsigned usable_cpus() noexcept;

}  // namespace aramid::inline v0::detail
