// Birth, end and handles of fibers: what fiber.hpp and detail/fiber_handle.hpp promise.

#include <aramid/fiber.hpp>

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <utility>

#include <aramid/detail/runtime_ref.hpp>

#include "assert.hpp"
#include "control_pool.hpp"
#include "failure_text.hpp"
#include "fiber_control.hpp"
#include "group_core.hpp"
#include "log.hpp"
#include "runtime_core.hpp"
#include "thread_state.hpp"
#include "worker.hpp"

namespace aramid::inline v0 {

fiber_cancelled::~fiber_cancelled() = default;

namespace detail {

namespace {

/// Ids are handed to workers in blocks, so that a spawn does not touch a shared counter.
std::atomic<fiber_id> next_id_block{1};
constexpr fiber_id ids_per_block = 1024;

fiber_id fresh_id(worker* w) noexcept {
  if (w == nullptr) {
    return next_id_block.fetch_add(1, std::memory_order_relaxed) * ids_per_block;
  }
  if (w->next_id % ids_per_block == 0) {
    w->next_id = next_id_block.fetch_add(1, std::memory_order_relaxed) * ids_per_block;
  }
  return w->next_id++;
}

void set_name(fiber_control& fiber, std::string_view name) noexcept {
  std::size_t length = 0;
  if (!name.empty()) {
    length = std::min(name.size(), fiber_control::name_bytes - 1);
    std::memcpy(fiber.name, name.data(), length);
  }
  fiber.name[length] = '\0';
}

/// Where the box goes: inside the block if it fits.
void place_box(fiber_control& fiber, std::size_t size, std::size_t align) {
  if (size <= fiber_control::inline_bytes() && align <= fiber_control::inline_align) {
    fiber.box = fiber.inline_storage();
    return;
  }
  fiber.box_align = std::max(align, alignof(std::max_align_t));
  fiber.box = fiber.heap_box = ::operator new(size, std::align_val_t{fiber.box_align});
}

void free_box(fiber_control& fiber) noexcept {
  if (fiber.heap_box != nullptr) {
    ::operator delete(std::exchange(fiber.heap_box, nullptr), std::align_val_t{fiber.box_align});
  }
}

/// The worker whose queues and caches the caller may use for `core`, or nullptr.
worker* worker_of(const runtime_core& core) noexcept {
  worker* const w = current_worker();
  return w != nullptr && &w->core == &core ? w : nullptr;
}

void recycle(fiber_control& fiber) noexcept {
  free_box(fiber);
  if (worker* const w = current_worker()) {
    w->give_control(fiber);
  } else {
    control_list one;
    one.push(&fiber);
    return_controls(one, 1);
  }
}

/// What its parent's variables are bound to. `w` as `worker_of` says.
void inherit_context(fiber_control& child, const worker* w) noexcept {
  const context_node* seen = nullptr;
  if (ARAMID_UNLIKELY(w == nullptr)) {
    seen = belongings_of(current_waiter()).context;
  } else if (waiter* const parent = w->running()) {
    seen = belongings_of(*parent).context;
  }
  if (ARAMID_UNLIKELY(seen != nullptr)) {
    child.context = share(seen);
  }
}

}  // namespace

// --- birth ---------------------------------------------------------------------------------------------------------------

fiber_control* new_fiber(runtime_core* core, group_core* group, const fiber_ops& ops, std::size_t box_size,
                         std::size_t box_align, const fiber_options& options) {
  if (core == nullptr) {
    core = group != nullptr ? &group->core() : current_runtime();
    if (core == nullptr) {
      throw std::logic_error(
          "aramid: spawn: the calling thread is no fiber and has entered no runtime (aramid::run, runtime::enter)");
    }
  }
  const std::size_t stack_size =
      options.stack_size_bytes == 0 ? core->default_stack_size() : rounded_stack_size(options.stack_size_bytes);
  worker* const w = worker_of(*core);
  fiber_control* fiber = nullptr;
  if (w != nullptr) {
    fiber = &w->take_control();
  } else {
    control_list few;
    refill_controls(few);
    fiber = few.pop();
    return_controls(few, few.size);
  }
  fiber->core = core;
  fiber->ops = &ops;
  fiber->id = fresh_id(w);
  fiber->stack_size_bytes = stack_size;
  fiber->pinned = options.pinned;
  set_name(*fiber, options.name);
  try {
    place_box(*fiber, box_size, box_align);
    if (w == nullptr && !core->admit()) {
      throw std::logic_error("aramid: spawn: the runtime has been stopped");
    }
    fiber->born_outside = w == nullptr;
    inherit_context(*fiber, w);
    if (group != nullptr) {
      group->add(*fiber);
    }
  } catch (...) {
    recycle(*fiber);
    throw;
  }
  return fiber;
}

void* fiber_storage(fiber_control* fiber) noexcept { return fiber->box; }

void start_fiber(fiber_control* fiber) noexcept {
  runtime_core& core = *fiber->core;
  fiber->life.begin();
  if (ARAMID_UNLIKELY(core.gate().stops_births())) {
    stop_list none;  // it has not begun
    fiber->request_cancel(none);
  }
  if (fiber->born_outside) {
    core.make_ready(*fiber);
  } else {
    // The same worker as in new_fiber: copying a callable must not suspend.
    current_worker()->push_fresh(*fiber);
  }
}

void abandon_new_fiber(fiber_control* fiber) noexcept {
  fiber->drop_context();
  if (fiber->group != nullptr) {
    fiber->group->remove(*fiber);
    fiber->group = nullptr;
  }
  runtime_core& core = *fiber->core;
  const bool born_outside = fiber->born_outside;
  recycle(*fiber);
  if (born_outside) {
    core.gate().revoke();
  }
}

// --- end -----------------------------------------------------------------------------------------------------------------

worker& fiber_control::run_to_end() noexcept {
  invoke_body();
  if (ARAMID_UNLIKELY(core->of_another_process())) {
    terminate_in_child(*this);
  }
  announce_end();
  // Asked for only now: a group's hook or the destructor of the result may have suspended.
  worker& ended_on = *current_worker();
  ended_on.count_ended();
  return ended_on;
}

void fiber_control::fail_to_start(worker& by, std::exception_ptr why) noexcept {
  error = std::move(why);
  outcome = fiber_outcome::threw;
  on = &by;
  drop_context();
  if (ops->drop_callable != nullptr) {
    ops->drop_callable(box);
  }
  announce_end();
  by.count_ended();
}

__attribute__((noinline)) void fiber_control::invoke_body() noexcept {
  try {
    // Killed before it started: it never runs.
    if (!must_throw()) {
      ops->run(box);
      outcome = fiber_outcome::returned;
    } else {
      outcome = fiber_outcome::cancelled;
    }
  } catch (const cancelled&) {
    outcome = fiber_outcome::cancelled;
  } catch (...) {
    error = std::current_exception();
    outcome = fiber_outcome::threw;
  }
  drop_callable();
  if (ARAMID_UNLIKELY(any())) {
    // A group's hook still sees what the fiber has seen.
    drop_belongings(group != nullptr ? bindings::stay : bindings::go);
  }
}

__attribute__((noinline, cold)) void fiber_control::drop_belongings(bindings theirs) noexcept {
  const shield from_cancellation;  // destructors may suspend
  drop_values(theirs);
  drop_stop_source();  // last: a destructor may have asked for it
}

void fiber_control::drop_late_belongings() noexcept {
  if (ARAMID_UNLIKELY(any())) {
    drop_belongings(bindings::go);
  }
}

void fiber_control::drop_callable() noexcept {
  if (ops->drop_callable != nullptr) {
    const shield from_cancellation;  // what was captured may suspend in its destructor, and must not be thrown out of it
    ops->drop_callable(box);
  }
}

void fiber_control::announce_end() noexcept {
  join_observer* joiners = nullptr;
  std::unique_ptr<done_callback> calls;
  bool failed_alone = false;
  bool stays = false;
  bool has_handle = false;
  {
    const std::lock_guard lock(life);
    failed_alone = detached && outcome == fiber_outcome::threw;
    stays = group != nullptr || failed_alone || callbacks != nullptr;
    on->counters.announced.add();
    has_handle = life.end(stays);
    // Claimed under the lock: an observer that is still linked has not left. A claimed one stands still until we deliver;
    // one that was lost has its link no more.
    for (join_observer* each = std::exchange(observers, nullptr); each != nullptr;) {
      join_observer* const following = each->next;
      if (claim(each->token)) {
        each->claimed = true;
        each->next = joiners;
        joiners = each;
      }
      each = following;
    }
    calls = std::move(callbacks);
  }
  // From here on the block is somebody else's, unless it stays or has no handle.
  while (joiners != nullptr) {
    deliver(std::exchange(joiners, joiners->next)->token);
  }
  for (; calls != nullptr; calls = std::move(calls->next)) {
    calls->call();
  }
  if (ARAMID_UNLIKELY(failed_alone)) {
    terminate_detached(*this);
  }
  // Callbacks, destructors of results, hooks and those that listen to stop tokens are users' code, which may make values of its own here.
  if (!has_handle) {
    drop_result();
  }
  if (stays) {
    if (group != nullptr) {
      // The result is gone before the group may be: no child's object outlives the block.
      group->hear_of(*this, has_handle);
      drop_late_belongings();
      group->child_ended(*this);  // the last touch of the group
    }
    drop_late_belongings();
    leave(holder::runtime);
  } else if (!has_handle) {
    drop_late_belongings();
    retire();
  }
}

void fiber_control::release_handle() noexcept {
  if (!life.done() && (of_another_process(*this) || life.leave_early())) {
    return;
  }
  if (ARAMID_UNLIKELY(logs_unheard) && outcome == fiber_outcome::threw && !error_heard.load(std::memory_order_relaxed)) {
    log_line("aramid: " + describe(*this) + " failed and nobody joined it: " + failure_text(error));
  }
  drop_result();
  leave(holder::handle);
}

void fiber_control::leave(holder who) noexcept {
  if (ARAMID_UNLIKELY(group != nullptr)) {
    leave_child(who);
  } else if (life.leave(who)) {
    retire();
  }
}

void fiber_control::leave_child(holder who) noexcept {
  // An error dies where it was handled, and not whenever the fiber that threw it gets around to leaving.
  std::exception_ptr handled;
  const bool was_last = life.leave(who, [&] {
    if (error_given) {
      handled = std::move(error);
    }
  });
  if (was_last) {
    retire();
  }
}

void fiber_control::drop_result() noexcept {
  if (outcome == fiber_outcome::returned && ops->drop_result != nullptr) {
    ops->drop_result(box);  // may suspend: an ending fiber still has its stack
  }
}

void fiber_control::retire() noexcept {
  ARAMID_ASSERT(!any(), "fiber: what one life has made is left to the next");
  std_locks = {};
  bound.store(nullptr, std::memory_order_relaxed);
  error = nullptr;
  outcome = fiber_outcome::running;
  detached = false;
  error_given = false;
  logs_unheard = false;
  error_heard.store(false, std::memory_order_relaxed);
  group = nullptr;
  on = home = nullptr;
  callbacks = nullptr;
  life.clear();
  reset_cancellation();
  recycle(*this);
}

}  // namespace detail

// --- this_fiber --------------------------------------------------------------------------------------------------------------

namespace this_fiber {

using detail::current_fiber;
using detail::current_waiter;
using detail::fiber_control;

namespace {

__attribute__((noinline, cold)) void throw_if_cancelled(detail::waiter& self) {
  if (self.must_throw()) {
    throw_cancelled();
  }
}

}  // namespace

void yield() {
  const auto [self, worker] = detail::what_runs();
  if (ARAMID_UNLIKELY(self->must_look())) {
    throw_if_cancelled(*self);  // it goes on as it was
  }
  if (ARAMID_LIKELY(worker != nullptr)) {
    self->budget = detail::waiter::full_budget;
    ARAMID_CHECK_STD_LOCKS(static_cast<fiber_control&>(*self), "this_fiber::yield");
    worker->yield(static_cast<fiber_control&>(*self));
  } else {
    sched_yield();
  }
}

void sleep_until(time_point deadline) {
  enter_wait();
  parker wait({"this_fiber::sleep"});
  if (wait.park_until(deadline) == wake_reason::cancelled) {
    throw_cancelled();
  }
}

fiber_id get_id() noexcept {
  const auto* const self = static_cast<fiber_control*>(current_fiber());
  return self != nullptr ? self->id : 0;
}

std::string_view name() noexcept {
  const auto* const self = static_cast<fiber_control*>(current_fiber());
  return self != nullptr ? self->display_name() : std::string_view();
}

std::stop_token get_stop_token() {
  detail::waiter* const self = current_fiber();
  return self != nullptr ? self->stop_token() : std::stop_token();
}

bool cancel_requested() noexcept {
  return current_waiter().must_look() && current_waiter().must_throw();
}

}  // namespace this_fiber

}  // namespace aramid::inline v0
