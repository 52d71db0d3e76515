#include "descriptor.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <stdexcept>
#include <string>

#include "epoll/registration.hpp"

namespace aramid::inline v0::detail {

void descriptor_user::throw_not_alone(use how) const {
  throw std::logic_error(std::string(who_) + ": another fiber or thread is " + (how == use::reader ? "reading" : "writing") + " already");
}

void descriptor_user::delist() noexcept {
  const std::lock_guard guard(descriptor_.watch_lock_);
  *link_ = next_;
  if (next_ != nullptr) {
    next_->link_ = link_;
  }
}

void descriptor_user::wake(descriptor_word<>::waiter waiter) noexcept {
  unpark(park_token(waiter == descriptor_word<>::waiter::reader ? descriptor_.reader_ : descriptor_.closer_));
}

void descriptor_user::wait_for_writer() noexcept {
  // A forked child shares the socket, but its parent's writer does not leave here.
  if (descriptor_.home_.of_another_process()) {
    return;
  }
  parker wait(cancellable::no, {who_});
  descriptor_.reader_ = wait.token();
  if (descriptor_.word_.must_wait_for_writer()) {
    wait.park();
  } else {
    (void)wait.abandon();
  }
}

bool descriptor_user::enlist(park_token token) noexcept {
  const std::lock_guard guard(descriptor_.watch_lock_);
  // `closing` is set before `end_waits` takes the lock: either it is seen here, or `end_waits` sees
  // the token.
  if (!descriptor_.is_open()) {
    return false;
  }
  token_ = token;
  if (!watched_) {
    watched_ = true;
    next_ = descriptor_.watched_;
    link_ = &descriptor_.watched_;
    if (next_ != nullptr) {
      next_->link_ = &next_;
    }
    descriptor_.watched_ = this;
  }
  return true;
}

registration* descriptor_user::registered() noexcept {
  registration* mine = descriptor_.registration_.load(std::memory_order_acquire);  // pairs with the release below
  if (ARAMID_UNLIKELY(mine == nullptr)) {
    registration* const made = make_registration(descriptor_.fd_);
    if (made == nullptr) {
      return nullptr;
    }
    if (descriptor_.registration_.compare_exchange_strong(mine, made, std::memory_order_acq_rel, std::memory_order_acquire)) {
      return made;
    }
    forget(*made, descriptor_.fd_);
  }
  return mine;
}

std::error_code descriptor::close() noexcept {
  const descriptor_word<>::close_begun begun = word_.begin_close();
  if (!begun.is_first) {
    return {};
  }
  // A forked child shares the socket: its parent's users are not the child's to wake, nor to wait for.
  if (begun.has_users && !home_.of_another_process()) {
    end_waits();
    wait_for_users();
  }
  return close_number();
}

void descriptor::end_waits() noexcept {
  if (kind_ == kind::socket) {
    // ENOTCONN and the like change nothing: it wakes whoever waits all the same, and who does not
    // wait will not begin.
    (void)::shutdown(fd_, SHUT_RDWR);
    return;
  }
  const std::lock_guard guard(watch_lock_);
  for (const descriptor_user* user = watched_; user != nullptr; user = user->next_) {
    unpark(user->token_);
  }
}

void descriptor::wait_for_users() noexcept {
  parker wait(cancellable::no, {"close, for others that use the descriptor"});
  closer_ = wait.token();
  if (word_.must_wait_for_users()) {
    wait.park();
  } else {
    (void)wait.abandon();
  }
}

std::error_code descriptor::close_number() noexcept {
  int result = -ENOTSUP;
  unregister();
  if (kind_ == kind::file) {
    // Some file systems write back in close. A socket's close is quick, unless SO_LINGER was asked
    // to wait.
    operation op(op_kind::close, fd_);
    result = perform_shielded(op);
  }
  if (result == -ENOTSUP) {
    result = ::close(fd_) == 0 ? 0 : -errno;
  }
  // Linux has given the number back even when it says EINTR (man close).
  return result == 0 || result == -EINTR ? std::error_code()
                                         : std::error_code(-result, std::system_category());
}

void descriptor::unregister() noexcept {
  // A forked child leaves its parent's epoll alone: the two share it.
  if (registration* const mine = registration_.exchange(nullptr); mine != nullptr && !home_.of_another_process()) {
    forget(*mine, fd_);
  }
}

int descriptor::release(const char* who) {
  switch (word_.close_unused()) {
    case descriptor_word<>::refusal::none:
      unregister();
      return fd_;
    case descriptor_word<>::refusal::closed:
      return -1;
    case descriptor_word<>::refusal::not_alone:
      break;
  }
  throw std::logic_error(std::string(who) + ": a fiber or thread is using it");
}

}  // namespace aramid::inline v0::detail
