// From results to errors: what the two forms of a public call have in common.
#pragma once

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <type_traits>

#include <aramid/io/error.hpp>

namespace aramid::inline v0::detail {

/// The kernel's -errno.
[[nodiscard]] inline std::error_code system_error_of(std::int64_t result) noexcept {
  return {static_cast<int>(-result), std::system_category()};
}

[[nodiscard]] inline std::error_code last_system_error() noexcept {
  return system_error_of(-errno);
}

/// The form that throws, from one that does not.
template <class Call>
auto throwing(const char* who, Call&& call) {
  std::error_code ec;
  if constexpr (std::is_void_v<decltype(call(ec))>) {
    call(ec);
    if (ec) {
      throw std::system_error(ec, who);
    }
  } else {
    auto result = call(ec);
    if (ec) {
      throw std::system_error(ec, who);
    }
    return result;
  }
}

/// The form with an error_code, from one that sets `ec` for errors of the call itself but throws
/// what has a message to it: a runtime that cannot make its drivers.
template <class Call>
auto coded(std::error_code& ec, Call&& call) -> decltype(call()) {
  ec.clear();
  try {
    return call();
  } catch (const std::system_error& e) {
    ec = e.code();
    return decltype(call())();
  }
}

}  // namespace aramid::inline v0::detail
