#include "epoll_set.hpp"

#include "clock.hpp"
#include "failure.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace net_load {

namespace {

epoll_event interest(std::uint32_t events, std::uint32_t index) noexcept {
  epoll_event wanted{};
  wanted.events = events;
  wanted.data.u32 = index;
  return wanted;
}

}  // namespace

epoll_set::epoll_set() : descriptor_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (descriptor_ < 0) {
    throw bad_usage(std::string("epoll_create1: ") + std::strerror(errno));
  }
}

epoll_set::~epoll_set() { ::close(descriptor_); }

void epoll_set::add(int descriptor, std::uint32_t events, std::uint32_t index) {
  epoll_event wanted = interest(events, index);
  if (::epoll_ctl(descriptor_, EPOLL_CTL_ADD, descriptor, &wanted) != 0) {
    throw bad_usage(std::string("epoll_ctl: ") + std::strerror(errno));
  }
}

void epoll_set::modify(int descriptor, std::uint32_t events, std::uint32_t index) noexcept {
  epoll_event wanted = interest(events, index);
  ::epoll_ctl(descriptor_, EPOLL_CTL_MOD, descriptor, &wanted);
}

void epoll_set::remove(int descriptor) noexcept {
  ::epoll_ctl(descriptor_, EPOLL_CTL_DEL, descriptor, nullptr);
}

std::span<const epoll_event> epoll_set::wait(int milliseconds) noexcept {
  const int count =
      ::epoll_wait(descriptor_, events_.data(), static_cast<int>(events_.size()), milliseconds);
  return {events_.data(), static_cast<std::size_t>(count > 0 ? count : 0)};  // EINTR: nothing ready
}

std::span<const epoll_event> epoll_set::wait_ns(std::uint64_t nanoseconds) {
  timespec timeout{};
  timeout.tv_sec = static_cast<time_t>(nanoseconds / second_ns);
  timeout.tv_nsec = static_cast<long>(nanoseconds % second_ns);
  const int count = ::epoll_pwait2(descriptor_, events_.data(), static_cast<int>(events_.size()),
                                   &timeout, nullptr);
  if (count < 0 && errno != EINTR) {
    throw bad_usage(std::string("--rate: epoll_pwait2: ") + std::strerror(errno));
  }
  return {events_.data(), static_cast<std::size_t>(count > 0 ? count : 0)};
}

}  // namespace net_load
