// The slow half of the semaphore: its waiters. The steps are those of detail/semaphore_word.hpp.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <stdexcept>

#include <aramid/semaphore.hpp>

#include "barging.hpp"

namespace aramid::inline v0::detail {

semaphore_base::semaphore_base(std::ptrdiff_t permits, std::ptrdiff_t max) : word_(permits) {
  if (permits < 0 || permits > max) {
    throw std::invalid_argument("aramid::counting_semaphore: permits must be from 0 to max()");
  }
}

void semaphore_base::complain(std::ptrdiff_t permits) noexcept {
  std::fprintf(stderr, "aramid: semaphore::release(%td): %s\n", permits,
               permits < 0 ? "a negative number of permits" : "there would be more permits than max()");
  std::abort();
}

bool semaphore_base::acquire_slowly(time_point deadline) {
  const wake_reason reason = take_or_park(word_, queue_lock_, queue_, {"semaphore::acquire", this}, cancellable::yes, deadline);
  if (reason == wake_reason::cancelled) {
    throw_cancelled();
  }
  return reason == wake_reason::notified;
}

void semaphore_base::release_slowly(std::uint64_t permits) noexcept {
  wait_node* first = nullptr;  // those that have been claimed, in their order
  wait_node** end = &first;
  std::uint64_t competitors = 0;
  do {
    const std::lock_guard guard(queue_lock_);
    while (permits != competitors) {
      barging_waiter* const next = queue_.claim_front();
      if (next == nullptr) {
        word_.nobody_waits();
        break;
      }
      *end = next;
      end = &next->next;
      if (next->lost_too_often()) {
        next->is_served = true;
        --permits;
      } else {
        ++competitors;
      }
    }
  } while (!word_.give(permits, competitors));
  *end = nullptr;
  deliver_all(first);
}

}  // namespace aramid::inline v0::detail
