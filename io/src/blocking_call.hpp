// An operation as a system call that may block its thread, for drivers that have no other way (io_driver.hpp): what concerns files, which
// are always ready as far as epoll knows, and what cannot be tried.
#pragma once

#include <cstdint>

#include <aramid/blocking.hpp>

#include "operation.hpp"

namespace aramid::inline v0::detail {

/// Whether no readiness could tell when to try.
[[nodiscard]] constexpr bool always_blocks(const operation& op) noexcept {
  switch (op.kind) {
    case op_kind::open:
    case op_kind::close:
    case op_kind::sync:
    case op_kind::stat:
      return true;
    case op_kind::read:
    case op_kind::write:
      return op.offset != stream_offset;
    default:
      return false;
  }
}

class blocking_call final : public offloaded {
public:
  explicit blocking_call(const operation& op) noexcept : op_(op) {}

  void run() noexcept override;
  void ask_to_stop() noexcept override {}

  /// >= 0 or -errno.
  [[nodiscard]] std::int32_t result() const noexcept { return result_; }

private:
  const operation& op_;
  std::int32_t result_ = 0;
};

}  // namespace aramid::inline v0::detail
