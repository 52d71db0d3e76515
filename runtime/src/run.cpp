#include <aramid/run.hpp>

#include <stdexcept>
#include <string>

#include <aramid/detail/runtime_ref.hpp>

#include "runtime_core.hpp"
#include "thread_state.hpp"

namespace aramid::inline v0 {

runtime::runtime(const options& opts) : core_(std::make_shared<detail::runtime_core>(opts)) { core_->start(); }

runtime::~runtime() { core_->stop(std::chrono::milliseconds{0}); }

void runtime::stop(std::chrono::milliseconds grace) { core_->stop(grace); }

statistics runtime::stats() const { return core_->stats(); }

runtime::entered::entered(detail::runtime_core* core)
    : previous_(std::exchange(detail::state_of_thread()->entered, core)) {}

runtime::entered::~entered() { detail::state_of_thread()->entered = previous_; }

statistics stats() {
  const detail::runtime_core* const core = detail::current_runtime();
  if (core == nullptr) {
    throw std::logic_error("aramid: stats: the calling thread belongs to no runtime");
  }
  return core->stats();
}

namespace detail {

void refuse_inside_fiber(const char* operation) {
  if (current_fiber() != nullptr) {
    throw std::logic_error(std::string("aramid: ") + operation +
                           ": called from a fiber; use spawn, or a runtime object on another thread");
  }
}

runtime_ref runtime_ref::current() noexcept {
  runtime_ref made;
  if (runtime_core* const core = current_runtime()) {
    made.core_ = core->weak_from_this();
  }
  return made;
}

bool runtime_ref::of_another_process() const noexcept {
  const std::shared_ptr<runtime_core> core = core_.lock();
  return core != nullptr && core->of_another_process();
}

std::shared_ptr<runtime_core> runtime_ref::lock(const char* operation) const {
  std::shared_ptr<runtime_core> core = core_.lock();
  if (core == nullptr) {
    throw std::logic_error(std::string("aramid: ") + operation +
                           ": called from a thread that is no fiber, on an object whose runtime has ended");
  }
  if (core->of_another_process()) {
    throw std::logic_error(std::string("aramid: ") + operation +
                           ": the object's runtime is that of the process which forked this one");
  }
  return core;
}

driver* driver_for_io(driver_maker make) {
  const auto [self, on] = what_runs();
  if (ARAMID_UNLIKELY(on == nullptr || !self->is_fiber())) {
    return nullptr;
  }
  driver* const made = on->driver_for_io();
  return ARAMID_LIKELY(made != nullptr) ? made : &on->core.make_driver_for_io(*on, make);
}

}  // namespace detail

}  // namespace aramid::inline v0
