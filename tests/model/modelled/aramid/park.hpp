// The product's park.hpp, for the model: the same names over waits that the explorer sees. Whatever stands on it
// (detail/wait_queue.hpp, detail/broadcast.hpp, channel.hpp, select.hpp, barrier.cpp, …) is the product's own; it is compiled with
// this directory in front of its include path, and in an inline namespace of its own (CMakeLists.txt).
//
// A wait is a word that is claimed once. Whoever ends one before its time, a canceller or a deadline, touches nothing but
// that word; so the waiter plays both itself, at any moment that the explorer chooses, and neither takes a thread.
//
// Stricter than the product: a token may not be used once its wait is over, and every copy of it is a plain cell. So a node that is
// used after its waiter has left, or that two use at the same time, is an error.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include <aramid/detail/config.hpp>

#include "../../modelled_wait.hpp"

namespace aramid::inline v0 {

using clock = std::chrono::steady_clock;
using time_point = clock::time_point;

enum class wake_reason : std::uint8_t { notified, cancelled, timed_out };
enum class cancellable : bool { no, yes };

struct wait_note {
  const char* operation = nullptr;
  const void* object = nullptr;
};

namespace detail {
class waiter;
}

struct park_token {
  model::waiter_name who;
  model::modelled_wait* wait = nullptr;
  model::tracked_copy here;
};

class parker {
public:
  explicit parker(cancellable may_cancel = cancellable::yes, wait_note = {})
      : wait_(std::make_unique<model::modelled_wait>()),
        may_cancel_(may_cancel == cancellable::yes && model::may_be_cancelled()) {}

  explicit parker(wait_note note) : parker(cancellable::yes, note) {}

  ~parker() {
    if (open_ && !abandon()) {
      (void)park();
    }
  }

  parker(const parker&) = delete;
  parker& operator=(const parker&) = delete;

  [[nodiscard]] park_token token() const noexcept { return {model::waiter_name::self(), wait_.get(), {}}; }

  wake_reason park() noexcept { return park_until(time_point::max()); }

  wake_reason park_until(time_point deadline) noexcept {
    using enum model::wait_outcome;
    open_ = false;
    switch (wait_->end(may_cancel_, deadline.time_since_epoch())) {
      case cancelled:
        return wake_reason::cancelled;
      case timed_out:
        return wake_reason::timed_out;
      default:
        return wake_reason::notified;
    }
  }

  [[nodiscard]] bool abandon() noexcept {
    if (!wait_->abandon()) {
      return false;
    }
    open_ = false;
    return true;
  }

private:
  std::unique_ptr<model::modelled_wait> wait_;
  bool may_cancel_;
  bool open_ = true;
};

[[nodiscard]] inline bool claim(park_token token) noexcept { return token.wait->claim(model::wait_outcome::notified); }
inline void deliver(park_token token) noexcept { token.wait->deliver(); }

/// Looks at nothing: a wait is cancelled while it is open, or not at all.
inline void enter_wait() noexcept {}

[[noreturn]] void throw_cancelled();

}  // namespace aramid::inline v0
