#include <cstdio>
#include <cstdlib>
#include <limits>
#include <system_error>

#include <aramid/mutex.hpp>

#include "thread_state.hpp"
#include "waiter.hpp"

namespace aramid::inline v0 {

using detail::current_waiter;

bool recursive_mutex::lock_again(const detail::waiter* me) noexcept {
  if (owner_.load(std::memory_order_relaxed) != me || depth_ == std::numeric_limits<std::uint32_t>::max()) {
    return false;
  }
  ++depth_;
  return true;
}

void recursive_mutex::become_owner(const detail::waiter* me) noexcept {
  owner_.store(me, std::memory_order_relaxed);
  depth_ = 1;
}

void recursive_mutex::lock() { (void)lock_before(time_point::max()); }

bool recursive_mutex::try_lock() noexcept {
  const detail::waiter* const me = &current_waiter();
  if (lock_again(me)) {
    return true;
  }
  if (!lock_.try_lock()) {
    return false;
  }
  become_owner(me);
  return true;
}

bool recursive_mutex::lock_before(time_point deadline) {
  enter_wait();
  const detail::waiter* const me = &current_waiter();
  if (lock_again(me)) {
    return true;
  }
  if (owner_.load(std::memory_order_relaxed) == me) {
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again),
                            "aramid::recursive_mutex::lock: locked too often");
  }
  if (!lock_.try_lock_until(deadline)) {
    return false;
  }
  become_owner(me);
  return true;
}

void recursive_mutex::unlock() noexcept {
  if (owner_.load(std::memory_order_relaxed) != &current_waiter()) {
    std::fputs("aramid: recursive_mutex::unlock: the caller does not hold it\n", stderr);
    std::abort();
  }
  if (--depth_ == 0) {
    owner_.store(nullptr, std::memory_order_relaxed);
    lock_.unlock();
  }
}

}  // namespace aramid::inline v0
