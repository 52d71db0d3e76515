#include "failure_text.hpp"

#include "fiber_control.hpp"
#include "log.hpp"

namespace aramid::inline v0::detail {

std::string failure_text(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& failure) {
    return failure.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

std::string describe(const fiber_control& fiber) {
  return "fiber '" + std::string(fiber.display_name()) + "' (" + std::to_string(fiber.id) + ")";
}

void terminate_detached(const fiber_control& fiber) noexcept {
  log_line("aramid: detached " + describe(fiber) + " failed: " + failure_text(fiber.error));
  std::terminate();
}

void terminate_in_child(const fiber_control& fiber) noexcept {
  log_line("aramid: " + describe(fiber) + " forked, and in the child " +
           (fiber.outcome == fiber_outcome::threw ? "failed: " + failure_text(fiber.error)
                                                  : "returned, where nobody is left to go on with: call exec or _exit there"));
  std::terminate();
}

}  // namespace aramid::inline v0::detail
