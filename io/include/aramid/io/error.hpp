// How I/O fails. Every call has two forms: one throws, one takes a std::error_code&, sets it (and
// clears it on success), and throws nothing that the kernel or the peer can cause. In both forms
//
//   - cancellation throws aramid::cancelled: it is no error of the call but the end of what the
//     caller is in (cancel.hpp);
//   - misuse (two readers at once, a plain thread's call after the runtime has ended) throws
//     std::logic_error.
//
// The kernel's errors are std::system_error in the system category: `e.code() ==
// std::errc::connection_reset`. What the kernel has no number for is `io::errc`.
#pragma once

#include <cstddef>
#include <string>
#include <system_error>
#include <type_traits>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::io {

enum class errc {
  end_of_stream = 1,  ///< the stream ended before as much had been read as was asked for
  /// This end was closed, before the call or during it, or was never opened. It compares equal to
  /// std::errc::operation_canceled.
  closed = 2,
  /// Bytes that an earlier `read_exactly` had taken and could not deliver are lost: there was no memory to keep them in. Every later read of that stream fails so.
  bytes_lost = 3,
};

/// "aramid.io".
[[nodiscard]] ARAMID_API const std::error_category& category() noexcept;

[[nodiscard]] inline std::error_code make_error_code(errc code) noexcept {
  return {static_cast<int>(code), category()};
}

/// A write that has been cut short by an error, and how far it came.
class ARAMID_EXCEPTION ARAMID_API write_error : public std::system_error {
public:
  write_error(std::error_code code, const std::string& what, std::size_t bytes_written)
      : std::system_error(code, what), bytes_written_(bytes_written) {}
  ~write_error() override;

  /// How many of the call's bytes the kernel has taken.
  [[nodiscard]] std::size_t bytes_written() const noexcept { return bytes_written_; }

private:
  std::size_t bytes_written_;
};

}  // namespace aramid::inline v0::io

template <>
struct std::is_error_code_enum<aramid::io::errc> : std::true_type {};
