#include "doorbell.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

namespace aramid::inline v0::detail {
namespace {

int make_eventfd() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) {
    throw std::system_error(errno, std::system_category(), "aramid: eventfd");
  }
  return fd;
}

}  // namespace

doorbell::doorbell() : fd_(make_eventfd()) {}

doorbell::~doorbell() { ::close(fd_); }

void doorbell::ring() noexcept {
  if (word_.ring()) {
    const int saved = errno;
    const std::uint64_t one = 1;
    // EAGAIN alone is possible, after 2^64 - 2 rings.
    (void)!::write(fd_, &one, sizeof one);
    errno = saved;
  }
}

}  // namespace aramid::inline v0::detail
