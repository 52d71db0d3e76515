#include "dump.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <iomanip>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>

#include <aramid/dump.hpp>

#include "control_pool.hpp"
#include "failure_text.hpp"
#include "hog_report.hpp"
#include "runtime_core.hpp"
#include "thread_state.hpp"

namespace aramid::inline v0 {

namespace detail {

namespace {

/// Steps 2 and 3, under the lock of its life.
void look_at(const fiber_control& fiber, fiber_snapshot& seen) noexcept {
  seen.id = fiber.id;
  std::memcpy(seen.name, fiber.name, sizeof seen.name);
  seen.cancelled = fiber.cancel_pending();
  seen.frames.depth = 0;
  const stack* const on = fiber.bound.load(std::memory_order_acquire);
  if (on == nullptr) {
    seen.what = fiber_snapshot::doing::not_started;
    return;
  }
  seen.what = fiber_snapshot::doing::ready;
  const std::optional<std::uint64_t> parked = fiber.word.parked();
  if (!parked) {
    return;
  }
  seen.operation = fiber.wait.operation.load(std::memory_order_relaxed);
  seen.object = fiber.wait.object.load(std::memory_order_relaxed);
  seen.since = time_point(clock::duration(fiber.wait.since.load(std::memory_order_relaxed)));
  add_suspended_frames(seen.frames, fiber.resume_point.load(std::memory_order_relaxed), *on);
  std::atomic_thread_fence(std::memory_order_acquire);
  if (fiber.word.parked() == parked) {
    seen.what = fiber_snapshot::doing::waiting;
  } else {
    seen.frames.depth = 0;
  }
}

struct collection {
  const runtime_core& core;
  std::vector<fiber_snapshot> all;
  bool out_of_memory = false;
};

/// Step 1.
void collect(fiber_control& each, void* argument) {
  auto& into = *static_cast<collection*>(argument);
  fiber_snapshot seen;
  if (into.out_of_memory || !while_alive(each, into.core, [&] { look_at(each, seen); })) {
    return;
  }
  try {
    into.all.push_back(seen);
  } catch (const std::bad_alloc&) {  // not through the walk
    into.out_of_memory = true;
  }
}

/// Step 4.
void add_what_runs(const runtime_core& core, std::vector<fiber_snapshot>& all) {
  for (unsigned index = 0; index != core.worker_count(); ++index) {
    const std::optional<running_fiber> found = core.ask_what_runs_on(index);
    if (!found || found->id == 0) {
      continue;
    }
    const auto same = std::ranges::find(all, found->id, &fiber_snapshot::id);
    if (same != all.end()) {
      same->what = fiber_snapshot::doing::running;
      same->on_worker = index;
      same->frames = found->frames;
    }
  }
}

}  // namespace

std::vector<fiber_snapshot> snapshots_of(const runtime_core& core) {
  collection found{core, {}};
  for_each_control(collect, &found);
  if (found.out_of_memory) {
    throw std::bad_alloc();
  }
  prepare_to_ask();
  add_what_runs(core, found.all);
  std::ranges::sort(found.all, {}, &fiber_snapshot::id);
  return std::move(found.all);
}

std::string text_of(const fiber_snapshot& fiber, time_point now, symbols& names) {
  std::ostringstream text;
  text << "fiber ";
  if (fiber.name[0] != '\0') {
    text << '\'' << fiber.name << "' ";
  }
  text << '(' << fiber.id << "), ";
  switch (fiber.what) {
    case fiber_snapshot::doing::not_started:
      text << "not started";
      break;
    case fiber_snapshot::doing::ready:
      text << "ready";
      break;
    case fiber_snapshot::doing::running:
      text << "running on worker " << fiber.on_worker;
      break;
    case fiber_snapshot::doing::waiting: {
      const std::chrono::duration<double> waited = std::max(now - fiber.since, clock::duration::zero());
      text << "waiting for " << std::fixed << std::setprecision(3) << waited.count() << " s in "
           << (fiber.operation != nullptr ? fiber.operation : "a wait");
      if (fiber.object != nullptr) {
        text << " (" << fiber.object << ')';
      }
      break;
    }
  }
  text << (fiber.cancelled ? ", cancelled" : "")
       << text_of(fiber.frames, fiber.what == fiber_snapshot::doing::running, names);
  return std::move(text).str();
}

std::string dump_of(const runtime_core& core) {
  if (core.of_another_process()) {
    throw std::logic_error("aramid: dump_fibers: the runtime is that of the process which forked this one");
  }
  const std::vector<fiber_snapshot> all = snapshots_of(core);
  const time_point now = clock::now();
  std::string text = std::to_string(all.size()) + (all.size() == 1 ? " fiber on " : " fibers on ") +
                     std::to_string(core.worker_count()) + (core.worker_count() == 1 ? " worker" : " workers") + ", driver " +
                     std::string(core.worker_at(0).current_driver().name());
  symbols names;
  for (const fiber_snapshot& each : all) {
    text += '\n' + text_of(each, now, names);
  }
  for (const offload_pool* pool : {&core.offloads(), &core.file_calls()}) {
    for (const std::string& each : pool->running()) {
      text += '\n' + each;
    }
  }
  return text;
}

}  // namespace detail

std::string dump_fibers() {
  const detail::runtime_core* const core = detail::current_runtime();
  if (core == nullptr) {
    throw std::logic_error("aramid: dump_fibers: the calling thread belongs to no runtime");
  }
  return detail::dump_of(*core);
}

std::string runtime::dump_fibers() const { return detail::dump_of(*core_); }

}  // namespace aramid::inline v0
