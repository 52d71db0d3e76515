#include "epoll_driver.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <mutex>
#include <system_error>

#include "../descriptor.hpp"
#include "../time_left.hpp"
#include "attempt.hpp"
#include "registration.hpp"

namespace aramid::inline v0::detail {
namespace {

// poll(2)'s names and epoll's are the same numbers (uapi/linux/eventpoll.h).
static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLPRI == EPOLLPRI && POLLERR == EPOLLERR && POLLHUP == EPOLLHUP);
static_assert(EPOLLPRI == readiness_word<>::urgent);

constexpr std::uint64_t doorbell_data = ~std::uint64_t{0};
constexpr std::size_t events_at_once = 128;
constexpr std::uint32_t away_for_long = 8;

int make_epoll() {
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) {
    throw std::system_error(errno, std::system_category(), "aramid: epoll_create1");
  }
  return fd;
}

/// What `op` waits for; the kernel tells of errors and hang-ups without being asked.
std::uint32_t wanted_by(const operation& op) noexcept {
  const std::uint32_t events = op.events();
  const std::uint32_t with_its_end = (events & EPOLLIN) != 0 ? std::uint32_t{EPOLLRDHUP} : 0;
  return (events & readiness_word<>::all_events) | EPOLLERR | EPOLLHUP | with_its_end;
}

void enlist(registration& in, operation& op) noexcept {
  op.next = in.waiting;
  op.link = &in.waiting;
  if (op.next != nullptr) {
    op.next->link = &op.next;
  }
  in.waiting = &op;
}

void delist(operation& op) noexcept {
  *op.link = op.next;
  if (op.next != nullptr) {
    op.next->link = op.link;
  }
  op.link = nullptr;
}

}  // namespace

epoll_driver::epoll_driver() : epoll_(make_epoll()), process_(::getpid()) {
  epoll_event bell{EPOLLIN | EPOLLET, {.u64 = doorbell_data}};
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, doorbell_.fd(), &bell) != 0) {
    const int error = errno;
    ::close(epoll_);
    throw std::system_error(error, std::system_category(), "aramid: epoll_ctl");
  }
}

epoll_driver::~epoll_driver() { ::close(epoll_); }

std::int32_t epoll_driver::attempt(operation& op) noexcept {
  registration* const mine = op.user->registered();
  if (ARAMID_UNLIKELY(mine == nullptr)) {
    return -ENOMEM;
  }
  const std::uint32_t seen = mine->ready.read();  // R1
  // A connect is tried also when nothing has been told: its last try comes when it is given up.
  if (!readiness_word<>::has(seen, wanted_by(op)) && op.kind != op_kind::connect) {
    return -EAGAIN;
  }
  count_call();
  const std::int32_t result = detail::attempt(op, *mine);  // R2
  if (result == -EAGAIN) {
    mine->ready.clear(seen, wanted_by(op));  // R3
  } else if (result > 0 && mine->is_tcp && static_cast<std::uint32_t>(result) < op.length &&
             (op.kind == op_kind::receive || op.kind == op_kind::receive_lent || op.kind == op_kind::send) &&
             !readiness_word<>::has(seen, readiness_word<>::urgent)) {
    mine->ready.clear(seen, op.events());  // only that: an end of stream or an error is still to be seen
  }
  return result;
}

void epoll_driver::submit(operation& op) noexcept {
  op.home = this;
  waits_.fetch_add(1, std::memory_order_relaxed);
  std::int32_t result = -ENOMEM;
  if (registration* const mine = op.user->registered()) {
    const std::lock_guard guard(mine->lock);
    result = settle(*mine, op.fd);
    if (result == 0) {
      if (!readiness_word<>::has(mine->ready.read(), wanted_by(op))) {  // R4
        op.ticket = mine->index;
        enlist(*mine, op);
        return;
      }
      result = -EAGAIN;
    }
  }
  waits_.fetch_sub(1, std::memory_order_relaxed);
  unpark(op.finish(result));
}

std::int32_t epoll_driver::settle(registration& of, int fd) noexcept {
  epoll_driver* const home = of.home.load(std::memory_order_relaxed);
  if (home == this) {
    of.away = 0;
    return 0;
  }
  const bool inherited = home != nullptr && home->process_ != process_;
  if (home != nullptr && !inherited && ++of.away < away_for_long) {
    return 0;
  }
  epoll_event all{EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET, {.u64 = of.ticket()}};
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &all) != 0) {
    return home != nullptr && !inherited ? 0 : -errno;
  }
  if (home != nullptr && !inherited) {
    home->remove(fd);
  }
  of.home.store(this, std::memory_order_relaxed);
  of.away = 0;
  return 0;
}

void epoll_driver::remove(int fd) noexcept { ::epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr); }

void epoll_driver::cancel(operation& op, caller) noexcept {
  registration& in = *registration_at(static_cast<std::uint32_t>(op.ticket));
  park_token waiter;
  {
    const std::lock_guard guard(in.lock);
    if (op.link == nullptr) {
      return;  // it has just been told
    }
    delist(op);
    waiter = op.finish(-ECANCELED);
  }
  waits_.fetch_sub(1, std::memory_order_relaxed);
  unpark(waiter);
}

void epoll_driver::poll(time_point deadline, wake_batch& batch) noexcept {
  const std::lock_guard guard(reap_lock_);
  if (deadline > clock::time_point() && doorbell_.begin_sleep()) {
    reap(deadline, batch, caller::owner);
    doorbell_.end_sleep();
  } else {
    reap(time_point::min(), batch, caller::owner);
  }
}

bool epoll_driver::help(wake_batch& batch) noexcept {
  if (!reap_lock_.try_lock()) {
    return false;
  }
  const std::lock_guard guard(reap_lock_, std::adopt_lock);
  const std::size_t before = batch.size();
  reap(time_point::min(), batch, caller::peer);
  return batch.size() != before;
}

int epoll_driver::wait(time_point deadline, epoll_event* events) noexcept {
  using namespace std::chrono;
  constexpr int most = events_at_once;
  if (deadline == time_point::max()) {
    return ::epoll_wait(epoll_, events, most, -1);
  }
  if (deadline <= clock::time_point()) {
    return ::epoll_wait(epoll_, events, most, 0);
  }
  const timespec timeout = time_left(deadline);
  const int count = ::epoll_pwait2(epoll_, events, most, &timeout, nullptr);
  if (count >= 0 || (errno != ENOSYS && errno != EPERM)) {
    return count;
  }
  // Linux before 5.11, or a seccomp profile that is older than the call. Up to the next millisecond, or it would be called again at once.
  const auto rounded = ceil<milliseconds>(seconds(timeout.tv_sec) + nanoseconds(timeout.tv_nsec)).count();
  return ::epoll_wait(epoll_, events, most, static_cast<int>(std::min<std::int64_t>(rounded, 1'000'000)));
}

void epoll_driver::reap(time_point deadline, wake_batch& batch, caller from) noexcept {
  std::array<epoll_event, events_at_once> events;
  // A negative count is an interruption, and as good as a wake: the scheduler calls again.
  const int count = wait(deadline, events.data());
  constexpr std::size_t soon = 4;
  const std::size_t told = count > 0 ? static_cast<std::size_t>(count) : 0;
  for (std::size_t i = 0; i != told; ++i) {
    if (i + soon < told) {
      __builtin_prefetch(registration_at(static_cast<std::uint32_t>(events[i + soon].data.u64)), 1);
    }
    apply(events[i], batch, from);
  }
}

void epoll_driver::apply(const epoll_event& event, wake_batch& batch, caller from) noexcept {
  if (event.data.u64 == doorbell_data) {
    if (from == caller::peer) {
      doorbell_.note();
    }
    return;
  }
  registration* const of = registration_at(static_cast<std::uint32_t>(event.data.u64));
  const std::lock_guard guard(of->lock);
  if (of->ticket() != event.data.u64) {
    return;  // closed meanwhile
  }
  of->ready.tell(event.events);  // R5
  for (operation *op = of->waiting, *next = nullptr; op != nullptr; op = next) {
    next = op->next;
    if ((event.events & wanted_by(*op)) != 0) {
      delist(*op);
      static_cast<epoll_driver*>(op->home)->waits_.fetch_sub(1, std::memory_order_relaxed);
      op->finish(-EAGAIN, batch);
    }
  }
}

void epoll_driver::drain() noexcept {
  for_each_registration(
      [](registration& each, void* argument) {
        auto* const gone = static_cast<epoll_driver*>(argument);
        if (each.home.load(std::memory_order_relaxed) != gone) {
          return;
        }
        const std::lock_guard guard(each.lock);
        if (each.home.load(std::memory_order_relaxed) != gone) {
          return;
        }
        each.home.store(nullptr, std::memory_order_relaxed);
        each.ready.forget();
        while (operation* const op = each.waiting) {
          delist(*op);
          static_cast<epoll_driver*>(op->home)->waits_.fetch_sub(1, std::memory_order_relaxed);
          unpark(op->finish(-EAGAIN));
        }
      },
      this);
}

}  // namespace aramid::inline v0::detail
