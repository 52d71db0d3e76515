// A connected stream socket of any family: what reading and writing one mean. tcp_stream.cpp wraps it.
//
// Reading. `unread` (unread_bytes.hpp): `read_exactly` puts back there what it got before it failed (law 2), every read drains it first.
// It is the reader's: only who is the descriptor's `reader` touches it.
//
// The end. What was cut short must not pass for complete. But the kernel tells once what broke a connection (a peer's reset, or that it timed out):
// whoever asks first, reader or writer, gets the error, and the next read returns 0, as at an end of stream. So:
//
//   1. Who is told notes it (`note_broken_by`) before it ceases to be the descriptor's reader or writer. Two errors say nothing of that: EPIPE, which
//      a writer gets behind an end of ours, or of the peer's; and ENOTCONN.
//   2. Nothing is asked for that the kernel would tell and forget: no MSG_WAITALL, in which an error that comes after some bytes is dropped in
//      favour of their count (`receive_once`, `send_once`).
//   3. A reader that gets 0 looks whether there is a writer. If not, all that writers were told is noted. If there is, it may just have been told, as
//      its completion can be in another worker's ring; but only if the connection is dead (`is_dead`), and then no send of its waits any longer.
//      So the reader waits for the writer to leave.
//   4. Then the note says which end it was (`error_behind_end`).
//
// An end without a writer, which is the usual one, costs the look at the word that counts the users. The wait is shielded: it is as short as a writer
// needs to run, and a cancellation comes at the next call. A peer that ended its direction before it reset the rest has ended: a writer is then told
// EPIPE. If the rest times out instead, a reader that has not yet met the end is told of that: an error too many, rather than one too few.
//
// Rejected: to report a reset at every 0 from a dead connection, because after our own shutdown an ordinary end is one; to ask for SO_ERROR first,
// which is the same question as the reader's and takes the answer from the writer.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <utility>

#include <aramid/io/received_bytes.hpp>
#include <aramid/io/tcp.hpp>

#include "descriptor.hpp"
#include "operation.hpp"
#include "unread_bytes.hpp"

namespace aramid::inline v0::detail {

/// What reading and writing look at is in one line of the cache.
struct alignas(64) stream_socket {
  stream_socket(int fd, runtime_ref home) noexcept
      : handle(fd, descriptor::kind::socket, std::move(home)) {}

  unread_bytes unread;  // the reader's

  descriptor handle;
};

/// Of a stream that may have been closed for ever: null then.
[[nodiscard]] inline descriptor* handle_of(stream_socket* socket) noexcept {
  return socket == nullptr ? nullptr : &socket->handle;
}

/// Owns: `fd`, at once, also if this throws. Throws: std::bad_alloc.
[[nodiscard]] stream_ptr make_stream(int fd, runtime_ref home);

/// Memory for a stream that is yet to come, so that it cannot be lost for the want of it.
class stream_room {
public:
  /// Check whether there was any.
  stream_room() noexcept;
  ~stream_room();
  stream_room(const stream_room&) = delete;
  stream_room& operator=(const stream_room&) = delete;

  explicit operator bool() const noexcept { return memory_ != nullptr; }

  /// Once. Owns: `fd`.
  [[nodiscard]] stream_ptr make_stream(int fd, runtime_ref home) noexcept;

private:
  void* memory_;
};

// All of these suspend, cancel and throw as descriptor_user::perform. Errors of the call itself are
// in `ec`, which is clear on entry; std::logic_error if there is another reader (writer).

/// At least one byte, or 0 at end of stream or if `buffer` is empty.
std::size_t receive_some(stream_socket& socket, std::span<std::byte> buffer, std::error_code& ec,
                         const char* who);

/// At least one byte, in lent memory; nothing at end of stream.
io::received_bytes receive_lent(stream_socket& socket, std::error_code& ec, const char* who);

/// All of `buffer`, or `ec` and what came is in `unread`.
void receive_exactly(stream_socket& socket, std::span<std::byte> buffer, std::error_code& ec,
                     const char* who);

/// At least one byte.
std::size_t send_some(stream_socket& socket, std::span<const std::byte> data, std::error_code& ec,
                      const char* who);

/// All of it; `written` counts along.
void send_all(stream_socket& socket, std::span<const std::byte> data, std::size_t& written,
              std::error_code& ec, const char* who);

/// As receive_some into several buffers, in their order.
std::size_t receive_some(stream_socket& socket, std::span<const std::span<std::byte>> buffers,
                         std::error_code& ec, const char* who);

/// As receive_exactly into several buffers.
void receive_exactly(stream_socket& socket, std::span<const std::span<std::byte>> buffers,
                     std::error_code& ec, const char* who);

/// As send_some and send_all of several parts, in their order.
std::size_t send_some(stream_socket& socket, std::span<const std::span<const std::byte>> parts,
                      std::error_code& ec, const char* who);
void send_all(stream_socket& socket, std::span<const std::span<const std::byte>> parts,
              std::size_t& written, std::error_code& ec, const char* who);

// The steps of the calls above.

/// What one receive by `user` comes to when no bytes came. Returns: 0, with `ec` clear at end of stream.
std::size_t received_nothing(descriptor_user& user, std::int32_t result, std::error_code& ec) noexcept;

/// What one send by `user` comes to that failed. Returns: 0.
std::size_t send_failed(descriptor_user& user, std::int32_t result, std::error_code& ec) noexcept;

/// What one receive by `user` comes to. Returns: bytes; 0 with `ec` clear at end of stream.
inline std::size_t received(descriptor_user& user, std::int32_t result, std::error_code& ec) noexcept {
  return ARAMID_LIKELY(result > 0) ? static_cast<std::size_t>(result) : received_nothing(user, result, ec);
}

/// The same of one send.
inline std::size_t sent(descriptor_user& user, std::int32_t result, std::error_code& ec) noexcept {
  return ARAMID_LIKELY(result >= 0) ? static_cast<std::size_t>(result) : send_failed(user, result, ec);
}

// Always inlined: a fiber that waits in one of them has a frame less in the cache.

/// One receive.
__attribute__((always_inline)) inline std::size_t receive_once(descriptor_user& user, std::span<std::byte> buffer,
                                                               std::error_code& ec) {
  operation op(op_kind::receive, user.fd());
  op.address = buffer.data();
  op.length = static_cast<std::uint32_t>(std::min(buffer.size(), max_transfer_bytes));
  // Not MSG_WAITALL for those who want it all: when the kernel has some bytes and then meets an
  // error, it returns the bytes and forgets the error, and a reset would pass for an end of stream
  // (io_recv in the kernel's io_uring/net.c).
  return received(user, user.perform(op), ec);
}

/// One send.
__attribute__((always_inline)) inline std::size_t send_once(descriptor_user& user, std::span<const std::byte> data,
                                                            std::error_code& ec) {
  operation op(op_kind::send, user.fd());
  op.address = const_cast<std::byte*>(data.data());  // the kernel's interface has one pointer for both ways
  op.length = static_cast<std::uint32_t>(std::min(data.size(), max_transfer_bytes));
  // Not MSG_WAITALL for those who send it all, as in `receive_once`: the kernel would go on after a short write by itself, and forget what
  // it is told then (io_send).
  op.flags = MSG_NOSIGNAL;
  return sent(user, user.perform(op), ec);
}

}  // namespace aramid::inline v0::detail
