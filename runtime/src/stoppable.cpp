#include <aramid/detail/stoppable.hpp>

namespace aramid::inline v0::detail {

namespace {

/// Competes for the wait like any waker.
struct stopper {
  park_token token;
  bool* stopped;

  void operator()() const {
    if (claim(token)) {
      *stopped = true;
      deliver(token);
    }
  }
};

using stop_listener = std::optional<std::stop_callback<stopper>>;

/// On return it does not run, nor will. Its destructor asks on which thread it is, by a function that is declared const, and may be on another
/// than before the wait (DESIGN §2, law 5): hence a call of its own that nothing is known of.
ARAMID_PER_THREAD void forget(stop_listener& listener) { listener.reset(); }

}  // namespace

std::optional<wake_reason> park_unless(parker& wait, const std::stop_token& stop) {
  bool stopped = false;
  stop_listener listener;
  listener.emplace(stop, stopper{wait.token(), &stopped});
  const wake_reason reason = wait.park();
  forget(listener);
  return stopped ? std::nullopt : std::optional(reason);
}

}  // namespace aramid::inline v0::detail
