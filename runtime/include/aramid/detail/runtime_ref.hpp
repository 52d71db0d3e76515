// How an object that belongs to a runtime, but may outlive it, remembers it: a stream that a plain thread uses has its
// operations submitted by a worker of the runtime it was made in.
#pragma once

#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include <aramid/detail/config.hpp>
#include <aramid/detail/fiber_handle.hpp>
#include <aramid/fiber.hpp>

namespace aramid::inline v0::detail {

/// Whether the caller is a fiber. Costs a nanosecond.
[[nodiscard]] ARAMID_API bool on_fiber() noexcept;

class ARAMID_API runtime_ref {
public:
  runtime_ref() noexcept = default;

  /// The runtime of the calling fiber, or the one the calling thread has entered; empty if there is none.
  [[nodiscard]] static runtime_ref current() noexcept;

  explicit operator bool() const noexcept { return !core_.expired(); }

  /// Runs `fn` on a fiber of the runtime and waits for it, from a thread that is no fiber.
  /// Throws: what `fn` throws; std::logic_error naming `operation` if the runtime has ended or there is none.
  template <class Fn>
  std::invoke_result_t<Fn&> call(const char* operation, Fn&& fn) const {
    const std::shared_ptr<runtime_core> core = lock(operation);
    fiber<std::invoke_result_t<Fn&>> made(
        launch(core.get(), nullptr, fiber_options{.name = operation}, std::ref(fn)));
    return made.join();
  }

  /// Whether it is a runtime of the process that forked this one: none of its fibers runs here.
  [[nodiscard]] bool of_another_process() const noexcept;

private:
  [[nodiscard]] std::shared_ptr<runtime_core> lock(const char* operation) const;

  std::weak_ptr<runtime_core> core_;
};

}  // namespace aramid::inline v0::detail
