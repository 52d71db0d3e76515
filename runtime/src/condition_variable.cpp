// The condition variable. One wait:
//
//   1. Queue, with the mutex held: whoever changes the state under the mutex after us finds us in the queue.
//   2. Unlock the mutex; park.
//   3. If nobody notified us: leave the queue. Here a claim that we won from a notifier, or it from us, is decided
//      (detail/wait_queue.hpp): a notifier that loses takes the next waiter.
//   4. Lock the mutex again, shielded. Then throw, or return.
//
// The lock of the queue does not lie in the condition variable but in a table of this file. A waiter in step 3 must take
// it to learn that a notifier has passed it over; that notifier may have been a notify_all after which the
// condition variable is destroyed, as std allows. glibc makes its destructor wait for such waiters; ours might
// wait, on the one thread there is, for a fiber that is ready to run on it.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <system_error>

#include <aramid/condition_variable.hpp>
#include <aramid/detail/spin_lock.hpp>

#include "forks.hpp"

namespace aramid::inline v0 {

namespace {

constexpr std::size_t cache_line_bytes = 64;

struct alignas(cache_line_bytes) queue_lock {
  detail::spin_lock lock;
};

constexpr int table_bits = 6;
constinit std::array<queue_lock, std::size_t{1} << table_bits> table;

detail::spin_lock& lock_for(const condition_variable* which) noexcept {
  // Fibonacci hashing: neighbours in memory land far apart.
  const auto address = reinterpret_cast<std::uintptr_t>(which);
  const std::uint64_t hash = std::uint64_t{address} * 0x9E3779B97F4A7C15U;
  return table[hash >> (64 - table_bits)].lock;
}

}  // namespace

void detail::abandon_condition_locks() noexcept {
  for (queue_lock& each : table) {
    each.lock.unlock();
  }
}

cv_status condition_variable::wait_until_notified(std::unique_lock<mutex>& lock,
                                                  time_point deadline) {
  if (!lock.owns_lock()) {
    throw std::system_error(std::make_error_code(std::errc::operation_not_permitted),
                            "aramid::condition_variable::wait: the lock is not held");
  }
  mutex& held = *lock.mutex();
  detail::spin_lock& queue_lock = lock_for(this);
  wake_reason reason = wake_reason::notified;
  {
    parker wait({"condition_variable::wait", this});
    detail::wait_node me;
    me.token = wait.token();
    {
      const std::lock_guard guard(queue_lock);
      waiters_.push_back(me);
      has_waiters_.store(true, std::memory_order_relaxed);
    }
    held.unlock();
    reason = deadline == time_point::max() ? wait.park() : wait.park_until(deadline);
    if (reason != wake_reason::notified) {
      const std::lock_guard guard(queue_lock);
      // If a notifier has taken us out, *this may be gone; `remove` then looks at `me` only.
      if (waiters_.remove(me) && waiters_.empty()) {
        // release: pairs with the acquire in `has_waiters`. The last touch: the object may now be destroyed.
        has_waiters_.store(false, std::memory_order_release);
      }
    }
  }
  held.lock_shielded();
  if (reason == wake_reason::cancelled) {
    throw_cancelled();
  }
  return reason == wake_reason::timed_out ? cv_status::timeout : cv_status::no_timeout;
}

void condition_variable::notify_first() noexcept {
  const detail::wait_node* next = nullptr;
  {
    const std::lock_guard guard(lock_for(this));
    next = waiters_.claim_front();
    has_waiters_.store(!waiters_.empty(), std::memory_order_release);
  }
  if (next != nullptr) {
    deliver(next->token);
  }
}

void condition_variable::notify_every() noexcept {
  detail::wait_node* all = nullptr;
  {
    const std::lock_guard guard(lock_for(this));
    all = waiters_.claim_all();
    has_waiters_.store(false, std::memory_order_release);
  }
  detail::deliver_all(all);
}

}  // namespace aramid::inline v0
