#include "offload_pool.hpp"

#include <pthread.h>

#include <chrono>
#include <system_error>
#include <utility>

#include "belongings.hpp"
#include "failure_text.hpp"
#include "fiber_control.hpp"
#include "runtime_core.hpp"
#include "signal_mask.hpp"
#include "thread_state.hpp"

namespace aramid::inline v0::detail {

namespace {

constexpr std::chrono::seconds idle_limit{10};

}  // namespace

void offload_pool::call_list::push(offload_place& call) noexcept {
  call.next = nullptr;
  call.previous = last;
  (last != nullptr ? last->next : first) = &call;
  last = &call;
}

void offload_pool::call_list::remove(offload_place& call) noexcept {
  (call.previous != nullptr ? call.previous->next : first) = call.next;
  (call.next != nullptr ? call.next->previous : last) = call.previous;
}

// --- the fiber's side --------------------------------------------------------------------------------------------------

void offload_pool::call(offloaded& what) {
  what.caller = static_cast<fiber_control*>(current_fiber());
  parker wait({called_.wait});
  what.token = wait.token();
  what.since = clock::now();
  queue(what);
  if (wait.park() == wake_reason::notified) {
    return;
  }
  {
    const std::lock_guard lock(lock_);
    if (what.reached == offloaded::progress::queued) {
      queued_.remove(what);
      throw_cancelled();
    }
  }
  what.ask_to_stop();
  parker until_done(cancellable::no, {called_.cancelled_wait});
  {
    const std::lock_guard lock(lock_);
    if (what.reached == offloaded::progress::done) {
      return;
    }
    what.token = until_done.token();
  }
  (void)until_done.park();
}

void offload_pool::queue(offloaded& what) {
  const std::lock_guard lock(lock_);
  queued_.push(what);
  if (idle_ != 0) {
    --idle_;
    ++signals_;
    something_.notify_one();
    return;
  }
  if (threads_.size() >= limit_) {
    return;
  }
  try {
    start_thread();
  } catch (...) {
    if (threads_.empty()) {
      queued_.remove(what);
      throw;
    }
  }
}

void offload_pool::start_thread() {
  const auto self = threads_.emplace(threads_.end());
  try {
    *self = std::thread([this, self] { serve(self); });
  } catch (const std::system_error& error) {
    threads_.erase(self);
    throw std::system_error(error.code(), std::string("aramid: ") + called_.wait + ": cannot make a thread");
  } catch (...) {
    threads_.erase(self);
    throw;
  }
}

std::vector<std::string> offload_pool::running() const {
  std::vector<std::string> lines;
  const std::lock_guard lock(lock_);
  for (const offload_place* each = running_.first; each != nullptr; each = each->next) {
    const auto inside = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - each->since);
    lines.push_back(describe(*each->caller) + " has been inside " + called_.inside + " for " + std::to_string(inside.count()) + " ms");
  }
  return lines;
}

bool offload_pool::busy() const {
  const std::lock_guard lock(lock_);
  return queued_.first != nullptr || running_.first != nullptr;
}

std::size_t offload_pool::threads() const {
  const std::lock_guard lock(lock_);
  return threads_.size();
}

void offload_pool::stop() noexcept {
  thread_list all;
  {
    const std::lock_guard lock(lock_);
    stopping_ = true;
    something_.notify_all();
    all.splice(all.end(), threads_);
    all.splice(all.end(), ended_);
  }
  join_all(all);
}

void offload_pool::join_all(thread_list& threads) noexcept {
  for (std::thread& each : threads) {
    each.join();
  }
}

// --- the threads' side -------------------------------------------------------------------------------------------------

void offload_pool::serve(thread_list::iterator self) noexcept {
  pthread_setname_np(pthread_self(), called_.threads);
  block_broken_pipes();
  state_of_thread()->entered = &core_;

  std::unique_lock lock(lock_);
  ++idle_;
  while (wait_for_call(lock)) {
    run(static_cast<offloaded&>(*queued_.first), lock);
  }
  if (!stopping_) {
    // Each joins those before it, so that at most one is left for `stop`. Not with the lock, nor on a worker: destructors of thread_locals
    // may take their time.
    thread_list before;
    before.splice(before.end(), ended_);
    ended_.splice(ended_.end(), threads_, self);
    lock.unlock();
    join_all(before);
  }
}

bool offload_pool::wait_for_call(std::unique_lock<std::mutex>& lock) noexcept {
  for (;;) {
    const bool in_time = something_.wait_for(lock, idle_limit, [this] { return queued_.first != nullptr || signals_ != 0 || stopping_; });
    if (signals_ != 0) {
      --signals_;  // and whoever gave it has counted us out
    } else {
      --idle_;
    }
    if (queued_.first != nullptr) {
      return true;
    }
    if (stopping_ || !in_time) {
      return false;
    }
    ++idle_;  // somebody else was faster
  }
}

void offload_pool::run(offloaded& what, std::unique_lock<std::mutex>& lock) noexcept {
  queued_.remove(what);
  running_.push(what);
  what.reached = offloaded::progress::running;
  belongings& own = belongings_of(current_waiter());
  own.context = share(what.caller->context);
  lock.unlock();
  what.run();
  if (ARAMID_UNLIKELY(core_.of_another_process())) {
    terminate_in_child(*what.caller);
  }
  own.drop_context();
  lock.lock();
  running_.remove(what);
  what.reached = offloaded::progress::done;
  const park_token token = what.token;
  const bool ours = claim(token);
  ++idle_;  // already: the caller's next call must not need another thread
  lock.unlock();
  if (ours) {
    deliver(token);
  }
  lock.lock();
}

void offload(offloaded& call, offload_to pool) {
  enter_wait();
  const auto* const self = static_cast<fiber_control*>(current_fiber());
  if (self == nullptr || self->core->stepped()) {
    call.run();  // a thread may block; in a simulation there is one only
    return;
  }
  (pool == offload_to::files ? self->core->file_calls() : self->core->offloads()).call(call);
}

}  // namespace aramid::inline v0::detail
