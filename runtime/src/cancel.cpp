// The chain of scopes and shields behind cancel.hpp. The rules are at the top of waiter.hpp.

#include <aramid/cancel.hpp>

#include <sched.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <utility>

#include <aramid/fiber.hpp>
#include <aramid/timeout.hpp>

#include "assert.hpp"
#include "belongings.hpp"
#include "fiber_control.hpp"
#include "thread_state.hpp"
#include "waiter.hpp"
#include "worker.hpp"

namespace aramid::inline v0 {

timeout_error::~timeout_error() = default;

namespace detail {

// --- links -----------------------------------------------------------------------------------------------------------

scope_link::scope_link(kind what, time_point deadline) noexcept
    : owner_(&current_waiter()), deadline_(deadline), kind_(what) {
  owner_->push(*this);
}

scope_link::~scope_link() { leave(); }

void scope_link::leave() noexcept {
  if (!std::exchange(left_, true)) {
    owner_->pop(*this);
  }
}

void scope_link::refuse_if_left() const {
  if (left_) {
    throw std::logic_error("aramid: cancel_scope::run: the scope has ended with an earlier run");
  }
}

void scope_link::request() noexcept { owner_->request(*this); }

bool scope_link::requested() const noexcept { return requested_.load(std::memory_order_acquire); }

bool scope_link::expired() const noexcept { return expired_; }

// --- the waiter's chain ------------------------------------------------------------------------------------------------

void waiter::push(scope_link& link) noexcept {
  ARAMID_ASSERT(&current_waiter() == this, "cancel_scope: made on another fiber");
  const std::lock_guard lock(chain_lock_);
  link.outer_ = innermost_;
  if (innermost_ != nullptr) {
    innermost_->inner_ = &link;
  }
  innermost_ = &link;
  if (link.kind_ == scope_link::kind::shield) {
    nearest_deadline_ = time_point::max();
    cancel_pending_.store(false, std::memory_order_relaxed);
  } else {
    nearest_deadline_ = std::min(nearest_deadline_, link.deadline_);
  }
}

void waiter::pop(scope_link& link) noexcept {
  ARAMID_ASSERT(&current_waiter() == this, "cancel_scope: destroyed on another fiber");
  const std::lock_guard lock(chain_lock_);
  // Mostly the innermost, but scopes may end in any order (a group in a container).
  (link.inner_ == nullptr ? innermost_ : link.inner_->outer_) = link.outer_;
  if (link.outer_ != nullptr) {
    link.outer_->inner_ = link.inner_;
  }
  if (link.kind_ == scope_link::kind::shield || link.deadline_ != time_point::max() ||
      cancel_pending_.load(std::memory_order_relaxed)) {
    refresh();
  }
}

void waiter::refresh() noexcept {
  bool pending = false;
  time_point nearest = time_point::max();
  const scope_link* link = innermost_;
  for (; link != nullptr && link->kind_ == scope_link::kind::scope; link = link->outer_) {
    pending = pending || link->requested_.load(std::memory_order_relaxed);
    if (!link->expired_) {
      nearest = std::min(nearest, link->deadline_);
    }
  }
  if (link == nullptr) {
    pending = pending || cancel_requested_;
  }
  nearest_deadline_ = nearest;
  cancel_pending_.store(pending, std::memory_order_seq_cst);
}

void waiter::request(scope_link& link) noexcept {
  bool claimed = false;
  {
    const std::lock_guard lock(chain_lock_);
    link.requested_.store(true, std::memory_order_release);
    for (const scope_link* each = innermost_; each != nullptr && each->kind_ == scope_link::kind::scope;
         each = each->outer_) {
      if (each == &link) {
        cancel_pending_.store(true, std::memory_order_seq_cst);
        claimed = word.claim_cancellable() != 0;
        break;
      }
    }
  }
  if (claimed) {
    deliver_claimed();
  }
}

void waiter::request_cancel(stop_list& to_ask) noexcept {
  bool claimed = false;
  {
    const std::lock_guard lock(chain_lock_);
    const bool first = !std::exchange(cancel_requested_, true);
    const scope_link* each = innermost_;
    while (each != nullptr && each->kind_ == scope_link::kind::scope) {
      each = each->outer_;
    }
    if (each == nullptr) {
      cancel_pending_.store(true, std::memory_order_seq_cst);
      claimed = word.claim_cancellable() != 0;
    }
    if (first) {
      if (const std::shared_ptr<stop_node>& stop = belongings_of(*this).stop) {
        to_ask.add(stop, claimed ? this : nullptr);
        return;
      }
    }
  }
  if (claimed) {
    deliver_claimed();
  }
}

std::stop_token waiter::stop_token() {
  std::shared_ptr<stop_node>& stop = belongings_of(*this).stop;
  if (stop == nullptr) {
    auto made = std::make_shared<stop_node>();
    const std::lock_guard lock(chain_lock_);
    if (cancel_requested_) {
      made->source.request_stop();  // nobody listens yet
      made->asked.store(true, std::memory_order_relaxed);
    }
    stop = std::move(made);
  }
  return stop->source.get_token();
}

void waiter::drop_stop_source() noexcept {
  std::shared_ptr<stop_node> gone;
  const std::lock_guard lock(chain_lock_);
  gone = std::move(belongings_of(*this).stop);
}

void waiter::reset_cancellation() noexcept {
  // Nobody else knows this waiter now.
  cancel_requested_ = false;
  innermost_ = nullptr;
  nearest_deadline_ = time_point::max();
  cancel_pending_.store(false, std::memory_order_relaxed);
  budget = full_budget;
}

void waiter::expire(time_point now) noexcept {
  const std::lock_guard lock(chain_lock_);
  for (scope_link* each = innermost_; each != nullptr && each->kind_ == scope_link::kind::scope;
       each = each->outer_) {
    if (each->deadline_ <= now && !each->expired_) {
      each->expired_ = true;
      each->requested_.store(true, std::memory_order_release);
    }
  }
  refresh();
}

bool waiter::must_throw() noexcept {
  if (nearest_deadline_ != time_point::max()) {
    if (const time_point now = rough_now(); nearest_deadline_ <= now) {
      expire(now);
    }
  }
  if (!cancel_pending_.load(std::memory_order_acquire) || unwinding()) {
    return false;
  }
  wait_for_listeners();
  return true;
}

void waiter::wait_for_listeners() noexcept {
  if (!is_fiber()) {
    return;
  }
  const belongings& own = belongings_of(*this);
  if (ARAMID_LIKELY(own.stop == nullptr) || own.asks) {
    return;
  }
  bool listed = false;
  {
    const std::lock_guard lock(chain_lock_);
    listed = cancel_requested_;
  }
  // Whoever listed it calls them next, and they must not suspend.
  while (listed && !own.stop->asked.load(std::memory_order_acquire)) {
    sched_yield();
  }
}

bool waiter::unwinding() const noexcept {
  if (is_fiber()) {
    return static_cast<const fiber_control*>(this)->on->exception_globals->uncaught != 0;
  }
  return std::uncaught_exceptions() != 0;
}

time_point waiter::rough_now() const noexcept {
  return is_fiber() ? static_cast<const fiber_control*>(this)->on->rough_now() : clock::now();
}

bool waiter::effective_outside(const scope_link& link) noexcept {
  const std::lock_guard lock(chain_lock_);
  const scope_link* each = link.left_ ? innermost_ : link.outer_;
  for (; each != nullptr && each->kind_ == scope_link::kind::scope; each = each->outer_) {
    if (each->requested_.load(std::memory_order_relaxed)) {
      return true;
    }
  }
  return each == nullptr && cancel_requested_;
}

bool scope_link::own() const noexcept { return requested() && !owner_->effective_outside(*this); }

time_point deadline_after(clock::duration d) noexcept {
  if (d <= clock::duration::zero()) {
    return time_point::min();
  }
  // A stepped runtime has a time of its own.
  const worker* const w = current_worker();
  const time_point now = ARAMID_UNLIKELY(w != nullptr && w->stepped()) ? w->current_driver().now() : clock::now();
  return d >= time_point::max() - now ? time_point::max() : now + d;
}

}  // namespace detail

bool cancel_scope::swallows() const noexcept { return own(); }

}  // namespace aramid::inline v0
