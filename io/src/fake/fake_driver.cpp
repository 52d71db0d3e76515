#include "fake_driver.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <mutex>
#include <new>
#include <numeric>
#include <span>
#include <utility>

#include "../blocking_call.hpp"
#include "../descriptor.hpp"
#include "../epoll/attempt.hpp"
#include "../time_left.hpp"

namespace aramid::inline v0::detail {
namespace {

/// A descriptor that is O_DIRECT takes nothing else.
constexpr std::uint32_t direct_io_unit = 4096;

bool moves_bytes(const operation& op) noexcept {
  switch (op.kind) {
    case op_kind::read:
    case op_kind::write:
    case op_kind::receive:
    case op_kind::receive_lent:
    case op_kind::send:
      return op.length > 1;
    default:
      return false;
  }
}

bool moves_message(const operation& op) noexcept { return op.kind == op_kind::receive_message || op.kind == op_kind::send_message; }

std::int32_t call_at_once(const operation& op) noexcept {
  blocking_call call(op);
  call.run();
  return call.result();
}

}  // namespace

fake_driver::fake_driver(std::uint64_t seed, const time_point* now, const faults& often)
    : io_driver(io_style::completion), faults_(often), virtual_now_(now), random_(seed) {}

void fake_driver::submit(operation& op) noexcept {
  op.home = this;
  try {
    const std::lock_guard guard(lock_);
    pending_.push_back({&op, happens(faults_.late) ? a_little_later() : time_point::min()});
    in_flight_.fetch_add(1, std::memory_order_relaxed);
    submitted_.fetch_add(1, std::memory_order_relaxed);
  } catch (const std::bad_alloc&) {
    unpark(op.finish(-ENOMEM));
  }
}

time_point fake_driver::a_little_later() noexcept {
  return now() + clock::duration(random_() % static_cast<std::uint64_t>(faults_.latest.count()));
}

void fake_driver::cancel(operation& op, caller) noexcept {
  bool ring = false;
  {
    const std::lock_guard guard(lock_);
    const auto found = std::find_if(pending_.begin(), pending_.end(), [&](const pending& one) { return one.op == &op; });
    if (found != pending_.end() && !happens(faults_.cancels_missed)) {
      found->cancelled = true;
      ring = asleep_ || virtual_now_ != nullptr;
    }
  }
  if (ring) {
    wake();
  }
}

void fake_driver::poll(time_point deadline, wake_batch& batch) noexcept {
  bool finished = false;
  {
    const std::lock_guard guard(lock_);
    woken_.store(false, std::memory_order_relaxed);
    finished = go_through(batch);
  }
  if (virtual_now_ == nullptr && deadline > clock::time_point() && !finished && doorbell_.begin_sleep()) {
    sleep(deadline);
    doorbell_.end_sleep();
    const std::lock_guard guard(lock_);
    go_through(batch);
  }
}

void fake_driver::wake() noexcept {
  woken_.store(true, std::memory_order_relaxed);
  doorbell_.ring();
}

bool fake_driver::help(wake_batch& batch) noexcept {
  if (!lock_.try_lock()) {
    return false;
  }
  const std::lock_guard guard(lock_, std::adopt_lock);
  return !asleep_ && go_through(batch);
}

bool fake_driver::go_through(wake_batch& batch) noexcept {
  bool finished = false;
  std::shuffle(pending_.begin(), pending_.end(), random_);
  for (std::size_t i = 0; i < pending_.size();) {
    std::int32_t result = 0;
    if (!advance(pending_[i], result)) {
      ++i;
      continue;
    }
    if (!pending_[i].withheld && happens(faults_.withheld)) {
      pending_[i].withheld = result;
      pending_[i].due = a_little_later();
      ++i;
      continue;
    }
    operation& op = *std::exchange(pending_[i], pending_.back()).op;
    pending_.pop_back();
    trace_ = (trace_ ^ (static_cast<std::uint64_t>(op.kind) << 32 | static_cast<std::uint32_t>(result))) * 0x100000001b3;  // FNV-1a's
    in_flight_.fetch_sub(1, std::memory_order_relaxed);
    op.finish(result, batch);
    finished = true;
  }
  return finished;
}

bool fake_driver::advance(pending& one, std::int32_t& result) noexcept {
  if (one.withheld) {
    result = *one.withheld;
    return one.due <= now();
  }
  if (one.cancelled) {
    result = happens(faults_.cancels_too_late) ? try_now(*one.op) : -EAGAIN;
    if (result == -EAGAIN) {
      result = happens(512) ? -ECANCELED : -EINTR;
    }
    return true;
  }
  if (one.due > now()) {
    return false;
  }
  if (happens(faults_.interrupted)) {
    if (one.op->kind == op_kind::close) {
      (void)try_now(*one.op);  // it is closed all the same
    }
    result = -EINTR;
    return true;
  }
  if (one.op->kind == op_kind::receive_lent && happens(faults_.out_of_buffers)) {
    result = -ENOBUFS;
    return true;
  }
  result = try_now(*one.op);
  // A foreign descriptor that is O_NONBLOCK would end so under io_uring; this kernel waits.
  return result != -EAGAIN || always_blocks(*one.op);
}

std::int32_t fake_driver::try_now(operation& op) noexcept {
  if (moves_message(op) && happens(faults_.cut_short)) {
    return try_part_of_message(op);
  }
  const std::uint32_t whole = op.length;
  if (moves_bytes(op) && happens(faults_.cut_short)) {
    op.length = 1 + static_cast<std::uint32_t>(random_() % (whole - 1));
    if (whole % direct_io_unit == 0) {
      op.length = std::max(op.length / direct_io_unit, 1U) * direct_io_unit;
    }
  }
  const std::int32_t result = try_whole(op);
  op.length = whole;
  return result;
}

std::int32_t fake_driver::try_part_of_message(operation& op) noexcept {
  msghdr& header = *static_cast<msghdr*>(op.address);
  const std::span<iovec> pieces(header.msg_iov, header.msg_iovlen);
  const std::size_t whole = std::accumulate(pieces.begin(), pieces.end(), std::size_t{0}, [](std::size_t sum, const iovec& each) { return sum + each.iov_len; });
  std::size_t left = 1 + random_() % (whole - 1);  // there are two pieces at least, and none is empty
  const auto last = std::find_if(pieces.begin(), pieces.end(), [&](const iovec& each) {
    const bool ends_here = left <= each.iov_len;
    left -= ends_here ? 0 : each.iov_len;
    return ends_here;
  });
  header.msg_iovlen = static_cast<std::size_t>(last - pieces.begin()) + 1;
  const std::size_t of_last = std::exchange(last->iov_len, left);
  const std::int32_t result = try_whole(op);
  last->iov_len = of_last;
  header.msg_iovlen = pieces.size();
  return result;
}

std::int32_t fake_driver::try_whole(operation& op) noexcept {
  if (always_blocks(op)) {
    return call_at_once(op);
  }
  registration* const mine = op.user->registered();
  if (mine == nullptr) {
    return -ENOMEM;
  }
  const std::int32_t result = attempt(op, *mine);
  return result == readiness_driver::needs_thread ? call_at_once(op) : result;  // it is ready
}

bool fake_driver::needs_no_descriptor(const pending& one, time_point now) noexcept {
  if (one.withheld) {
    return one.due <= now;
  }
  return one.cancelled || (one.due <= now && always_blocks(*one.op));
}

void fake_driver::sleep(time_point deadline) noexcept {
  std::vector<pollfd> watched{{doorbell_.fd(), POLLIN, 0}};
  {
    const std::lock_guard guard(lock_);
    const time_point at = now();
    for (const pending& one : pending_) {
      if (needs_no_descriptor(one, at)) {
        return;  // it may have fallen due since the list was gone through
      }
      if (one.due <= at) {
        watched.push_back({one.op->fd, static_cast<short>(one.op->events()), 0});
      } else {
        deadline = std::min(deadline, one.due);
      }
    }
    asleep_ = true;
  }
  const timespec timeout = time_left(deadline);
  ::ppoll(watched.data(), watched.size(), deadline == time_point::max() ? nullptr : &timeout, nullptr);
  if (watched.front().revents != 0) {
    std::uint64_t rings = 0;
    (void)!::read(doorbell_.fd(), &rings, sizeof rings);
  }
  const std::lock_guard guard(lock_);
  asleep_ = false;
}

bool fake_driver::able() {
  const std::lock_guard guard(lock_);
  const time_point at = now();
  return woken_.load(std::memory_order_relaxed) || std::any_of(pending_.begin(), pending_.end(), [&](const pending& one) {
    return needs_no_descriptor(one, at) || (one.due <= at && poll_now(one.op->fd, one.op->events()) != 0);
  });
}

time_point fake_driver::next() {
  const std::lock_guard guard(lock_);
  time_point earliest = time_point::max();
  for (const pending& one : pending_) {
    if (one.due > now()) {
      earliest = std::min(earliest, one.due);
    }
  }
  return earliest;
}

void fake_driver::drain() noexcept {
  wake_batch batch;
  const std::lock_guard guard(lock_);
  for (const pending& one : std::exchange(pending_, {})) {
    in_flight_.fetch_sub(1, std::memory_order_relaxed);
    one.op->finish(one.withheld.value_or(-ECANCELED), batch);
  }
}

}  // namespace aramid::inline v0::detail
