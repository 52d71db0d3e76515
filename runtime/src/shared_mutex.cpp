// The slow half of the shared mutex: its waiters. The steps are those of detail/shared_mutex_word.hpp.
//
// Rejected: Go's and glibc's way, in which a writer first announces itself in the count of readers and then waits for them: a
// writer that gives up would have to take that back while readers already count it in.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include <aramid/shared_mutex.hpp>

#include "barging.hpp"

namespace aramid::inline v0 {

namespace detail {

struct sharing_waiter : barging_waiter {
  bool is_reader = false;  // the waiter's own
};

}  // namespace detail

using detail::sharing_waiter;

/// Who has been claimed: readers, linked as for `deliver_all`, or one writer, or nobody.
struct shared_mutex::claimed {
  detail::wait_node* first = nullptr;
  std::uint32_t readers = 0;
  sharing_waiter* writer = nullptr;
};

// --- under queue_lock_ -----------------------------------------------------------------------------------------------

shared_mutex::claimed shared_mutex::claim_readers() noexcept {
  claimed all;
  detail::wait_node** end = &all.first;
  while (sharing_waiter* const reader = queue_.claim_front_while([](const sharing_waiter& each) { return each.is_reader; })) {
    reader->is_served = true;
    *end = reader;
    end = &reader->next;
    ++all.readers;
  }
  *end = nullptr;
  return all;
}

shared_mutex::claimed shared_mutex::claim_in_front() noexcept {
  claimed next;
  while (next.first == nullptr && !queue_.empty()) {
    next = claim_readers();
    if (next.first == nullptr) {
      next.writer = queue_.claim_front_while([](const sharing_waiter& each) { return !each.is_reader; });
      if (next.writer != nullptr) {
        next.writer->next = nullptr;
        next.writer->is_served = next.writer->lost_too_often();
        next.first = next.writer;
      }
    }
  }
  return next;
}

// --- leaving ---------------------------------------------------------------------------------------------------------

void shared_mutex::unlock_slowly(std::uint32_t state) noexcept {
  if (!word_.is_held_alone(state)) {
    std::fputs("aramid: shared_mutex::unlock: nobody holds it alone\n", stderr);
    std::abort();
  }
  claimed next;
  while (next.first == nullptr) {
    if (word_.unlock_unless_waiting(state)) {
      return;
    }
    const std::lock_guard guard(queue_lock_);
    next = claim_in_front();
    if (next.first == nullptr) {
      state = word_.nobody_waits();
    } else if (next.writer == nullptr) {
      word_.make_way(next.readers, !queue_.empty());
    } else {
      word_.settle(!queue_.empty(), !next.writer->is_served);
    }
  }
  if (next.writer != nullptr && !next.writer->is_served) {
    word_.let_go();
  }
  detail::deliver_all(next.first);
}

void shared_mutex::unlock_shared_slowly() noexcept {
  do {
    claimed next;
    {
      const std::lock_guard guard(queue_lock_);
      if (!word_.is_only_reader()) {
        continue;
      }
      next = claim_in_front();
      if (next.first == nullptr) {
        word_.nobody_waits();
      } else if (next.writer == nullptr) {
        word_.admit(next.readers, !queue_.empty());
      } else {
        word_.settle_shared(!queue_.empty(), !next.writer->is_served);
      }
    }
    if (next.writer != nullptr) {
      if (!next.writer->is_served) {
        word_.let_go_shared();
      }
      deliver(next.writer->token);
      return;
    }
    detail::deliver_all(next.first);
  } while (!word_.unshare());
}

void shared_mutex::leave_queue(sharing_waiter& me) noexcept {
  claimed next;
  bool joined = false;
  {
    const std::lock_guard guard(queue_lock_);
    queue_.remove(me);
    if (queue_.empty()) {
      word_.nobody_waits();
    } else if (queue_.front().is_reader && word_.join()) {
      joined = true;
      next = claim_readers();
      word_.admit(next.readers, !queue_.empty());
    }
  }
  detail::deliver_all(next.first);
  if (joined) {
    unlock_shared();
  }
}

// --- waiting ---------------------------------------------------------------------------------------------------------

bool shared_mutex::lock_slowly(time_point deadline) {
  sharing_waiter me;
  const wake_reason reason = detail::take_or_park(
      me, queue_lock_, queue_, [this](bool competed) { return word_.take(competed); },
      [this](bool competed) { return word_.take_or_wait(competed); }, [this](sharing_waiter& each) { leave_queue(each); },
      {"shared_mutex::lock", this}, cancellable::yes, deadline);
  if (reason == wake_reason::cancelled) {
    throw_cancelled();
  }
  return reason == wake_reason::notified;
}

bool shared_mutex::lock_shared_slowly(time_point deadline) {
  sharing_waiter me;
  me.is_reader = true;
  const wake_reason reason = detail::take_or_park(
      me, queue_lock_, queue_, [this](bool) { return word_.share(); }, [this](bool) { return word_.share_or_wait(); },
      [this](sharing_waiter& each) { leave_queue(each); }, {"shared_mutex::lock_shared", this}, cancellable::yes,
      deadline);
  if (reason == wake_reason::cancelled) {
    throw_cancelled();
  }
  return reason == wake_reason::notified;
}

}  // namespace aramid::inline v0
