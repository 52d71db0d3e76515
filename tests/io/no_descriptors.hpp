// A process that is out of descriptors, for as long as the test wants it.
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

namespace aramid::test {

/// Lowers the limit of descriptors to what is open now, and restores it.
class no_descriptors_left {
public:
  no_descriptors_left() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit now = before_;
    const int lowest_free = ::dup(0);
    now.rlim_cur = static_cast<rlim_t>(lowest_free);
    ::close(lowest_free);
    ::setrlimit(RLIMIT_NOFILE, &now);
  }
  ~no_descriptors_left() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
  rlimit before_{};
};

// UBSan's vptr check probes memory through a pipe, and reports an invalid vptr where there is no descriptor left for one:
// running out of them is tested in every other build.
#if defined(ARAMID_UNDER_UBSAN)
#define SKIP_WITHOUT_DESCRIPTORS() GTEST_SKIP() << "UBSan's vptr check needs free descriptors of its own"
#else
#define SKIP_WITHOUT_DESCRIPTORS() static_cast<void>(0)
#endif

}  // namespace aramid::test
