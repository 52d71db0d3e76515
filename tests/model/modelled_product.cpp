// What the library exports to the templates in its headers, for the model.
#include <aramid/detail/select_case.hpp>
#include <aramid/timeout.hpp>

#include "litmus.hpp"
#include "select_loop.hpp"

namespace aramid::inline v0 {

void throw_cancelled() { throw cancelled(); }

namespace detail {

/// The clock stands still: the timeout itself says what the deadline will do (modelled_wait.hpp).
time_point deadline_after(clock::duration d) noexcept {
  return d == clock::duration::max() ? time_point::max() : time_point(d);
}

std::size_t select_one(std::span<select_case* const> cases) {
  return select_until_done(cases, [](std::size_t limit) { return model::choose(limit); });
}

}  // namespace detail

}  // namespace aramid::inline v0
