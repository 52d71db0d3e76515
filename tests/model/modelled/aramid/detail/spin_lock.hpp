// The product's detail/spin_lock.hpp, for the model: who finds it taken blocks, where the product spins. The explorer then need
// not look at each turn of a loop.
#pragma once

#include "../../../modelled_wait.hpp"

namespace aramid::inline v0::detail {

class spin_lock {
public:
  void lock() noexcept {
    const model::heap::untracked scope;
    model::explorer& e = model::explorer::current();
    begin(e);
    while (owner_ >= 0) e.block(this, "spin_lock::lock");
    owner_ = e.self();
    set(e, true, std::memory_order_acquire);
    e.note("lock");
  }

  void unlock() noexcept {
    const model::heap::untracked scope;
    model::explorer& e = model::explorer::current();
    begin(e);
    if (owner_ != e.self()) e.fail("unlock of a spin_lock that the thread does not own");
    owner_ = -1;
    set(e, false, std::memory_order_release);
    for (int t = 0; t < model::max_threads; ++t)
      if (e.is_blocked_on(t, this)) e.wake(t);
    e.note("unlock");
  }

  /// As the product's: a load, which may find what is no longer so.
  [[nodiscard]] bool is_free() const noexcept {
    const bool locked = locked_.load(std::memory_order_acquire);
    return !locked || model::is_broken(model::twin::sees_no_lock);
  }

private:
  void begin(model::explorer& e) {
    e.point();
    e.shared_memory().check_alive(locked_.id(), &locked_);
  }
  // RMWs only, so each reads the one before.
  void set(model::explorer& e, bool locked, std::memory_order order) {
    const auto assign = [](model::word, const void* to) {
      return model::to_word(*static_cast<const bool*>(to));
    };
    e.shared_memory().rmw(e.self(), locked_.id(), assign, &locked, order);
  }

  int owner_ = -1;
  model::atomic<bool> locked_{false};
};

}  // namespace aramid::inline v0::detail
