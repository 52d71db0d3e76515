// Files for fibers.
//
//     file in = file::open("in.txt");
//     file out = file::open("out.txt", {.read = false, .write = true, .create = true});
//     while (std::size_t n = in.read_some(buffer)) {
//       out.write_all(std::span(buffer).first(n));
//     }
//
// A read of what the page cache has is done on the spot (preadv2 with RWF_NOWAIT: 0.8–0.9 µs,
// against 1.3–5.6 through a ring); everything else is an operation of the kernel's that only the
// calling fiber waits for.
//
// The file keeps a position of its own (not the descriptor's, which other processes may share) for
// the calls that take no offset; they are for one fiber at a time. The calls with `_at` take any
// number of fibers at once.
//
// How errors and cancellation come, and plain threads: io/error.hpp, io/tcp.hpp.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include <aramid/detail/config.hpp>
#include <aramid/io/error.hpp>

namespace aramid::inline v0 {

namespace detail {
struct file_state;
struct file_delete {
  ARAMID_API void operator()(file_state* gone) const noexcept;
};
using file_ptr = std::unique_ptr<file_state, file_delete>;
}  // namespace detail

namespace io {

struct open_options {
  bool read = true;
  bool write = false;
  bool create = false;     ///< makes the file if there is none, with `permissions`
  bool exclusive = false;  ///< with `create`: fails with file_exists if there is one
  bool truncate = false;   ///< empties it
  bool append = false;     ///< every write goes to the end, wherever that is by then
  bool direct =
      false;  ///< past the page cache (O_DIRECT): buffers, offsets and sizes must be aligned
  mode_t permissions = 0666;  ///< of a new file, less the umask
};

/// An open file. Moves, does not copy.
/// Threads: as said at each call; `close` from any beside them. Moving and destroying want it
///          unused.
class ARAMID_API file {
public:
  /// Closed.
  file() noexcept = default;

  /// Opens `path`. A FIFO is opened without waiting for its other end: opening it to write fails
  /// with no_such_device_or_address while there is no reader, and a read before the first writer
  /// has come waits or returns 0, as the kernel likes.
  /// Suspends: while the kernel looks the path up.
  /// Cancels:  throws aramid::cancelled; nothing is open.
  /// Throws:   std::system_error that quotes the path (no_such_file_or_directory,
  ///           permission_denied, …); std::invalid_argument if the options ask for neither reading
  ///           nor writing, or the path has a zero byte.
  /// Threads:  any that belongs to a runtime.
  [[nodiscard]] static file open(std::string_view path, const open_options& options = {});
  [[nodiscard]] static file open(std::string_view path, const open_options& options,
                                 std::error_code& ec);

  /// Takes a descriptor over; -1 gives a closed file. The position starts at 0.
  /// Owns: `fd`, at once, also if this throws. Throws: std::bad_alloc.
  [[nodiscard]] static file adopt(int fd);

  file(file&&) noexcept = default;
  file& operator=(file&&) noexcept = default;

  /// Closes, and does not hear of errors: call `close` (or `sync`) first where they matter.
  /// Suspends: where the file system writes back in close. Cancels: never (shielded).
  ~file() = default;

  /// Reads at the position, and moves it on.
  /// Suspends: unless the page cache has it. Cancels: throws aramid::cancelled; the position has
  ///           not moved.
  /// Owns:     borrows `buffer` until return.
  /// Returns:  bytes read, 1..buffer.size(); 0 at the end of the file, or if `buffer` is empty.
  /// Throws:   std::system_error (is_a_directory, io_error, errc::closed, …).
  /// Threads:  one at a time, of all that use the position.
  std::size_t read_some(std::span<std::byte> buffer);
  std::size_t read_some(std::span<std::byte> buffer, std::error_code& ec);
  std::size_t read_some(std::span<char> buffer) {
    return read_some(std::as_writable_bytes(buffer));
  }
  std::size_t read_some(std::span<char> buffer, std::error_code& ec) {
    return read_some(std::as_writable_bytes(buffer), ec);
  }

  /// Fills `buffer` from `offset` on, as far as the file goes. Does not touch the position.
  /// Suspends, Cancels, Owns: as `read_some`.
  /// Throws:   as `read_some`; invalid_seek if it is a pipe or the like, invalid_argument for an
  ///           offset of 2^63 or more.
  /// Returns:  bytes read; less than buffer.size() only at the end of the file or with an error.
  /// Threads:  any number at once.
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> buffer);
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> buffer, std::error_code& ec);

  /// Writes all of `data` at the position and moves it on by what was written; with `append`, at
  /// the end of the file, and the position stays.
  /// Suspends: until the page cache (or with `direct` the device) has it.
  /// Cancels:  throws aramid::cancelled. How much had been written by then: see the form with
  ///           `written`.
  /// Owns:     borrows `data` until return.
  /// Throws:   write_error, a std::system_error with the number of bytes written
  ///           (no_space_on_device, file_too_large, …).
  /// Threads:  one at a time, of all that use the position.
  void write_all(std::span<const std::byte> data);
  void write_all(std::string_view data) { write_all(bytes(data)); }

  /// As above. However the call ends, by an exception too, `written` holds the number of bytes
  /// written.
  void write_all(std::span<const std::byte> data, std::size_t& written);
  void write_all(std::string_view data, std::size_t& written) { write_all(bytes(data), written); }

  /// As above, with the error in `ec`. Returns: bytes written.
  std::size_t write_all(std::span<const std::byte> data, std::error_code& ec);
  std::size_t write_all(std::string_view data, std::error_code& ec) {
    return write_all(bytes(data), ec);
  }

  /// Writes all of `data` from `offset` on. Does not touch the position. With `append` the kernel
  /// ignores the offset.
  /// Suspends, Cancels, Owns: as `write_all`. Throws: as `write_all` and `read_at`.
  /// Threads: any number at once.
  void write_at(std::uint64_t offset, std::span<const std::byte> data);
  void write_at(std::uint64_t offset, std::string_view data) { write_at(offset, bytes(data)); }

  /// Returns: bytes written.
  std::size_t write_at(std::uint64_t offset, std::span<const std::byte> data, std::error_code& ec);
  std::size_t write_at(std::uint64_t offset, std::string_view data, std::error_code& ec) {
    return write_at(offset, bytes(data), ec);
  }

  /// Where the next `read_some` or `write_all` begins. Suspends: never. Threads: one at a time, as
  /// those.
  [[nodiscard]] std::uint64_t position() const noexcept;
  void seek(std::uint64_t position) noexcept;

  /// The size in bytes, as the file system says now.
  /// Suspends: yes. Cancels: throws aramid::cancelled. Throws: std::system_error. Threads: any.
  [[nodiscard]] std::uint64_t size() const;
  [[nodiscard]] std::uint64_t size(std::error_code& ec) const;

  /// Waits until what has been written is on the device, with all of the file's attributes (fsync)
  /// or with those that reading it back needs (data, fdatasync).
  /// Suspends: until then. Cancels: throws aramid::cancelled; what is on the device is then
  ///           unknown.
  /// Throws:   std::system_error (io_error, no_space_on_device, …); man fsync says why a second try
  ///           proves nothing.
  /// Threads:  any.
  void sync();
  void sync(std::error_code& ec);
  void sync_data();
  void sync_data(std::error_code& ec);

  /// Closes. Calls that wait on a FIFO or a terminal are woken and fail with errc::closed, as does
  /// every later call; those on a disk are waited for. Harmless twice.
  /// Suspends: until all users have let go of the descriptor. Cancels: never (shielded).
  /// Throws:   std::system_error, what close(2) said: some file systems tell of failed writes here.
  ///           It is closed all the same.
  /// Threads:  any.
  void close();
  void close(std::error_code& ec) noexcept;

  [[nodiscard]] bool is_open() const noexcept;

  /// The descriptor, still ours; -1 if closed.
  [[nodiscard]] int native_handle() const noexcept;

  /// Gives the descriptor up, open. Returns: it, or -1 if closed. Throws: std::logic_error if
  /// somebody uses it.
  [[nodiscard]] int release();

private:
  explicit file(detail::file_ptr state) noexcept;

  static std::span<const std::byte> bytes(std::string_view text) noexcept {
    return std::as_bytes(std::span(text));
  }

  detail::file_ptr state_;
};

}  // namespace io
}  // namespace aramid::inline v0
