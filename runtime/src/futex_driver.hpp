// The driver of a runtime that does no I/O: a sticky wake on a futex. Called "none".
//
//   state: awake ──poll──► asleep ──wake──► notified ──poll returns──► awake
//          awake ──wake──► notified: the next blocking poll returns at once
#pragma once

#include <atomic>
#include <cstdint>

#include <aramid/driver.hpp>

namespace aramid::inline v0::detail {

class futex_driver final : public driver {
public:
  void poll(time_point deadline, wake_batch& batch) noexcept override;
  void wake() noexcept override;
  void flush() noexcept override {}
  bool help(wake_batch&) noexcept override { return false; }
  [[nodiscard]] std::size_t in_flight() const noexcept override { return 0; }
  void drain() noexcept override {}
  [[nodiscard]] std::string_view name() const noexcept override { return "none"; }

private:
  enum state : std::uint32_t { awake, asleep, notified };
  std::atomic<std::uint32_t> state_{awake};
};

}  // namespace aramid::inline v0::detail
