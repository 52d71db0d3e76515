// Stack overflow: a fault in a guard becomes a line with the fiber's name, and an abort.
//
// The handler runs on an alternate stack of the worker's thread and hands every other fault to whoever handled SIGSEGV before.
// A frame larger than the guard may jump over it unless the code was built with -fstack-clash-protection.
#pragma once

#include <signal.h>

#include <cstddef>
#include <memory>

namespace aramid::inline v0::detail {

/// Installs the handler, once per process.
void report_stack_overflows() noexcept;

/// The calling thread's alternate stack, for as long as the object lives.
class alternate_signal_stack {
public:
  alternate_signal_stack();
  ~alternate_signal_stack();

  alternate_signal_stack(const alternate_signal_stack&) = delete;
  alternate_signal_stack& operator=(const alternate_signal_stack&) = delete;

private:
  static constexpr std::size_t size_bytes = std::size_t{64} * 1024;
  std::unique_ptr<unsigned char[]> memory_;
  stack_t previous_{};  // a sanitizer's, perhaps: it wants it back
};

}  // namespace aramid::inline v0::detail
