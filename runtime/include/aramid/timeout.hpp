// Deadlines around any code that suspends.
//
//     auto line = with_timeout(5s, [&] { return read_line(stream); });   // throws timeout_error
//     if (auto line = try_with_timeout(5s, [&] { … })) { … }              // std::nullopt
//
// Nothing is lost: an operation that has its result when the deadline passes returns it (DESIGN §2, law 2).
// Nested, the one that expires first and is outermost is the one that is reported.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <aramid/cancel.hpp>
#include <aramid/detail/config.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0 {

/// A deadline of ours has passed. Distinct from std::errc::timed_out, which is what the network says.
class ARAMID_EXCEPTION timeout_error : public std::runtime_error {
public:
  timeout_error() : std::runtime_error("aramid: deadline exceeded") {}
  ~timeout_error() override;
};

namespace detail {

/// `now + d`, or no deadline if that overflows.
ARAMID_API time_point deadline_after(clock::duration d) noexcept;

template <class Rep, class Period>
clock::duration clamped(std::chrono::duration<Rep, Period> d) noexcept {
  using seconds = std::chrono::duration<double>;
  if (seconds(d) >= seconds(clock::duration::max())) {
    return clock::duration::max();
  }
  return d > d.zero() ? std::chrono::ceil<clock::duration>(d) : clock::duration::zero();
}

}  // namespace detail

/// Runs `fn` until `deadline`.
/// Suspends: as `fn` does. Cancels: as `fn` does.
/// Throws:   timeout_error if the deadline cut `fn` short; what `fn` throws.
template <class Fn>
std::invoke_result_t<Fn> with_deadline(time_point deadline, Fn&& fn) {
  cancel_scope scope(deadline);
  try {
    return std::invoke(std::forward<Fn>(fn));
  } catch (const cancelled&) {
    if (!scope.swallows()) {
      throw;
    }
  }
  throw timeout_error();
}

/// As `with_deadline`, `d` from now; a duration of zero or less has expired already.
template <class Rep, class Period, class Fn>
std::invoke_result_t<Fn> with_timeout(std::chrono::duration<Rep, Period> d, Fn&& fn) {
  return with_deadline(detail::deadline_after(detail::clamped(d)), std::forward<Fn>(fn));
}

/// As `with_timeout`, with the deadline as an empty optional; as nullptr where `fn` returns a reference, whose address is returned; as
/// false where it returns nothing.
template <class Rep, class Period, class Fn>
auto try_with_timeout(std::chrono::duration<Rep, Period> d, Fn&& fn) {
  using result = std::invoke_result_t<Fn>;
  cancel_scope scope(detail::deadline_after(detail::clamped(d)));
  if constexpr (std::is_void_v<result>) {
    return scope.run(std::forward<Fn>(fn));
  } else if constexpr (std::is_reference_v<result>) {
    std::remove_reference_t<result>* value = nullptr;
    scope.run([&] { value = std::addressof(std::invoke(std::forward<Fn>(fn))); });
    return value;
  } else {
    std::optional<result> value;
    scope.run([&] { value.emplace(std::invoke(std::forward<Fn>(fn))); });
    return value;
  }
}

/// Runs `fn` under a shield with a grace of its own: for so long it does not see cancellation from outside, then it is cut short. For a
/// clean-up that has to suspend and must not take for ever.
///
///     } catch (...) {
///       shield_for(2s, [&] { stream.write_all("bye"); });
///       throw;
///     }
///
/// Suspends: as `fn` does. Cancels: never; the next wait behind it does.
/// Returns:  as `try_with_timeout`. Throws: what `fn` throws.
template <class Rep, class Period, class Fn>
auto shield_for(std::chrono::duration<Rep, Period> grace, Fn&& fn) {
  const shield guard;
  return try_with_timeout(grace, std::forward<Fn>(fn));
}

}  // namespace aramid::inline v0
