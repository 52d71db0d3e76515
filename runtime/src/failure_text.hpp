// How failures are put into words, for the log and for std::terminate.
#pragma once

#include <exception>
#include <string>

namespace aramid::inline v0::detail {

class fiber_control;

/// what(), or the type's kind if it is no std::exception.
std::string failure_text(const std::exception_ptr& error);

/// "fiber 'name' (17)".
std::string describe(const fiber_control& fiber);

/// A detached fiber has failed: says which and how, and terminates.
[[noreturn]] void terminate_detached(const fiber_control& fiber) noexcept;

/// The body of a fiber has ended in a forked child (forks.hpp): says which and how, and terminates.
[[noreturn]] void terminate_in_child(const fiber_control& fiber) noexcept;

}  // namespace aramid::inline v0::detail
