// Cancellation. A fiber is cancelled through its handle, its group or a scope it is in; the next function that
// may suspend (and the one it is suspended in) then throws `cancelled`, and so does every one after it, until the scope
// that was cancelled has been left.
//
//     cancel_scope scope;
//     bool done = scope.run([&] { serve(stream); });   // false: scope.cancel() ended it
//
// Rules (DESIGN §2, laws 1–3): cancellation is looked at on entry, before any effect, and while parked; it is
// level-triggered; a wait that has its result returns it; nothing is thrown while the fiber is unwinding, nor inside
// a `shield`. A scope swallows its own cancellation only.
#pragma once

#include <atomic>
#include <functional>
#include <type_traits>
#include <utility>

#include <aramid/detail/config.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

/// What a cancelled fiber throws from the functions that may suspend. Not a std::exception, so that
/// `catch (const std::exception&)` does not swallow it; a `catch (...)` calls `rethrow_if_cancelled` first.
class ARAMID_EXCEPTION cancelled {
  cancelled() noexcept = default;
  friend ARAMID_API void throw_cancelled();
};

/// For `catch (...)`: rethrows the exception being handled if it is `cancelled`, else does nothing.
inline void rethrow_if_cancelled() {
  try {
    throw;
  } catch (const cancelled&) {
    throw;
  } catch (...) {  // the caller's to handle
  }
}

namespace detail {

/// A link of the chain of scopes and shields that the waiter is inside of. The waiter's own, on its stack.
class ARAMID_API scope_link {
public:
  scope_link(const scope_link&) = delete;
  scope_link& operator=(const scope_link&) = delete;

protected:
  enum class kind : bool { scope, shield };

  scope_link(kind what, time_point deadline) noexcept;
  ~scope_link();

  void request() noexcept;
  /// It covers nothing any more.
  void leave() noexcept;
  void refuse_if_left() const;
  [[nodiscard]] bool requested() const noexcept;
  [[nodiscard]] bool expired() const noexcept;
  /// Requested, and no effective request lies outside of it.
  [[nodiscard]] bool own() const noexcept;

private:
  friend class waiter;

  waiter* const owner_;
  scope_link* outer_ = nullptr;  // written by the owner under its chain lock, as is inner_
  scope_link* inner_ = nullptr;
  const time_point deadline_;
  const kind kind_;
  bool left_ = false;                  // the owner only, as is the next
  bool expired_ = false;               // the deadline is what requested it; the owner only
  std::atomic<bool> requested_{false};  // written under the owner's chain lock, read by anybody
};

}  // namespace detail

/// A stretch of code that can be cancelled on its own. Lives on the stack of the fiber (or thread) that makes it, and
/// covers what that fiber does until its `run` has ended, or it is destroyed. Scopes nest.
/// Threads: `cancel` and `cancel_requested` from any, while the scope lives; the rest from its own fiber.
class ARAMID_API cancel_scope : private detail::scope_link {
public:
  cancel_scope() noexcept : scope_link(kind::scope, time_point::max()) {}

  /// A scope that cancels itself at `deadline`. Costs no timer unless its fiber is suspended in it.
  explicit cancel_scope(time_point deadline) noexcept : scope_link(kind::scope, deadline) {}

  /// Cancels what runs in the scope, for good. Idempotent. Suspends: never.
  void cancel() noexcept { request(); }

  [[nodiscard]] bool cancel_requested() const noexcept { return requested(); }

  /// Whether it was the deadline that cancelled the scope.
  [[nodiscard]] bool deadline_expired() const noexcept { return expired(); }

  /// Runs `fn`, swallows this scope's own cancellation, and ends the scope: what comes behind is not covered by it.
  /// Returns: whether `fn` came to its end.
  /// Throws:  what `fn` throws; `cancelled` if an outer scope or the fiber itself is cancelled; std::logic_error if it has run before.
  template <class Fn>
  bool run(Fn&& fn) {
    const ending end(*this);
    try {
      std::invoke(std::forward<Fn>(fn));
      return true;
    } catch (const cancelled&) {
      if (!swallows()) {
        throw;
      }
      return false;
    }
  }

  /// Whether a `cancelled` that leaves this scope is this scope's own: it was cancelled, and nothing outside it is.
  [[nodiscard]] bool swallows() const noexcept;

private:
  struct ending {
    explicit ending(cancel_scope& of) : scope(of) { of.refuse_if_left(); }
    ~ending() { scope.leave(); }
    cancel_scope& scope;
  };
};

/// While one lives, cancellation that comes from outside of it is not seen: for clean-up that must suspend. Scopes made
/// inside it work as ever.
class ARAMID_API shield : private detail::scope_link {
public:
  shield() noexcept : scope_link(kind::shield, time_point::max()) {}

  /// Runs `fn` under a shield and returns its result.
  template <class Fn>
  static decltype(auto) run(Fn&& fn) {
    const shield guard;
    return std::invoke(std::forward<Fn>(fn));
  }
};

}  // namespace aramid::inline v0
