#include "fake_driver.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <mutex>
#include <utility>

#include "../blocking_call.hpp"
#include "../descriptor.hpp"
#include "../epoll/attempt.hpp"
#include "../time_left.hpp"

namespace aramid::inline v0::detail {
namespace {

/// A descriptor that is O_DIRECT takes nothing else.
constexpr std::uint32_t direct_io_unit = 4096;

bool can_be_cut_short(const operation& op) noexcept {
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
  const std::lock_guard guard(lock_);
  in_flight_.fetch_add(1, std::memory_order_relaxed);
  submitted_.fetch_add(1, std::memory_order_relaxed);
  const auto latest = static_cast<std::uint64_t>(faults_.latest.count());
  pending_.push_back({&op, happens(faults_.late) ? now() + clock::duration(random_() % latest) : time_point::min()});
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
  const std::uint32_t whole = op.length;
  if (can_be_cut_short(op) && happens(faults_.cut_short)) {
    op.length = 1 + static_cast<std::uint32_t>(random_() % (whole - 1));
    if (whole % direct_io_unit == 0) {
      op.length = std::max(op.length / direct_io_unit, 1U) * direct_io_unit;
    }
  }
  std::int32_t result = -ENOMEM;
  if (always_blocks(op)) {
    result = call_at_once(op);
  } else if (registration* const mine = op.user->registered()) {
    result = attempt(op, *mine);
    if (result == readiness_driver::needs_thread) {
      result = call_at_once(op);  // it is ready
    }
  }
  op.length = whole;
  return result;
}

bool fake_driver::needs_no_descriptor(const pending& one, time_point now) noexcept {
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
    one.op->finish(-ECANCELED, batch);
  }
}

}  // namespace aramid::inline v0::detail
