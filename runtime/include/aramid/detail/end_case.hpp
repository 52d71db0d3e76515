// The end of a fiber, as a case of a selection.
#pragma once

#include <aramid/detail/config.hpp>
#include <aramid/detail/fiber_handle.hpp>
#include <aramid/detail/select_case.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

class end_case : public select_case {
public:
  /// Throws: std::logic_error naming `operation` if the handle stands for no fiber.
  template <class T>
  end_case(const fiber_handle<T>& which, const char* operation) : which_(handle_access::fiber_of(which, operation)) {}

  bool attempt() override {
    if (fiber_done(which_)) {
      return true;
    }
    check_joinable(which_);
    return false;
  }
  publication publish(parker& wait) noexcept override {
    me_.token = wait.token();
    me_.claimed = false;
    return observe_end(which_, me_) ? publication::queued : perform_instead(wait, [] { return true; });
  }
  void withdraw() noexcept override { stop_observing(which_, me_); }
  [[nodiscard]] bool chosen() const noexcept override { return me_.claimed; }

protected:
  ~end_case() = default;

private:
  fiber_control* which_;
  join_observer me_;
};

/// Nothing more than that.
class plain_end_case final : public end_case {
public:
  using end_case::end_case;
};

}  // namespace aramid::inline v0::detail
