// Support for scenarios of the product's own primitives over modelled waits (modelled/aramid/park.hpp).
#pragma once

#include <utility>

#include <aramid/cancel.hpp>

#include "litmus.hpp"
#include "modelled_wait.hpp"

namespace model {

/// What goes through a channel. Can be moved, not copied; 0 when it has been moved from.
class item {
public:
  explicit item(int value) : value_(value) {}
  item(item&& other) noexcept : value_(other.value_.read()) { other.value_.write(0); }

  [[nodiscard]] int value() const { return value_.read(); }

private:
  model::plain<int> value_;
};

/// As `parallel`, in the scenarios that use what is below.
template <class... Fns>
void together(Fns&&... fns) {
  cancellable_threads.fill(false);
  parallel(std::forward<Fns>(fns)...);
}

/// Calls `fn`, whose waits may be cancelled. Returns false if one was.
template <class Fn>
bool unless_cancelled(Fn fn) {
  may_be_cancelled() = true;
  bool done = false;
  try {
    fn();
    done = true;
  } catch (const aramid::cancelled&) {
    done = false;
  }
  may_be_cancelled() = false;
  return done;
}

}  // namespace model
