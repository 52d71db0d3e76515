// Reading into several buffers and writing from several parts in one call (stream_socket.hpp).
//
// The kernel takes an array of pieces in a msghdr; both lie in the fiber's frame, as the operation does. `piece_walk` stands at a byte of
// the caller's parts and makes such an array of what comes next, so a send that moved only some of it goes on at exactly the byte where it
// stopped. The array is shorter than the kernel's limit of 1024, which would be four pages of every stack that waits here; 64 pieces share the cost of an
// operation well enough. A single piece goes the way of those who have one.
//
// sendmsg rather than writev: a writev to a broken pipe raises SIGPIPE, only MSG_NOSIGNAL does not.
//
// Without MSG_WAITALL, for the reason that `send_once` gives, and because before Linux 6.1 io_uring went on after a short send with the array's
// first piece at another one's offset (commit 3e4cb6ebbb2b, "io_uring/net: fix fast_iov assignment in io_setup_async_msg").
#include <limits.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>

#include <aramid/driver.hpp>

#include "operation.hpp"
#include "stream_socket.hpp"

namespace aramid::inline v0::detail {
namespace {

constexpr std::size_t pieces_at_once = 64;
static_assert(pieces_at_once <= IOV_MAX);

/// What one operation moves. Of the array only what is used is ever touched.
struct message {
  msghdr header;
  std::array<iovec, pieces_at_once> pieces;
};

/// A place in several parts that are taken for one.
template <class Byte>
class piece_walk {
public:
  explicit piece_walk(std::span<const std::span<Byte>> parts) noexcept : parts_(parts) { skip_empty(); }

  [[nodiscard]] bool at_end() const noexcept { return parts_.empty(); }

  /// What is left of the part it stands in. Not at the end.
  [[nodiscard]] std::span<Byte> piece() const noexcept { return parts_.front().subspan(offset_); }

  void advance(std::size_t bytes) noexcept {
    while (bytes != 0) {
      const std::size_t here = std::min(bytes, piece().size());
      offset_ += here;
      bytes -= here;
      if (offset_ == parts_.front().size()) {
        parts_ = parts_.subspan(1);
        offset_ = 0;
        skip_empty();
      }
    }
  }

  /// Describes what comes next, as much as fits, and makes `op` move it. Returns: the pieces.
  std::size_t describe(message& into, operation& op) const noexcept {
    std::size_t count = 0;
    std::size_t bytes = 0;
    for (piece_walk next = *this; !next.at_end() && count != into.pieces.size() && bytes != max_transfer_bytes; ++count) {
      const std::span<Byte> each = next.piece().first(std::min(next.piece().size(), max_transfer_bytes - bytes));
      // The kernel's interface has one pointer for both ways.
      into.pieces[count] = {const_cast<std::byte*>(each.data()), each.size()};
      bytes += each.size();
      next.advance(each.size());
    }
    into.header = {};
    into.header.msg_iov = into.pieces.data();
    into.header.msg_iovlen = count;
    op.address = &into.header;
    op.length = 1;
    return count;
  }

private:
  void skip_empty() noexcept {
    while (!parts_.empty() && parts_.front().empty()) {
      parts_ = parts_.subspan(1);
    }
  }

  std::span<const std::span<Byte>> parts_;  // the first is not empty
  std::size_t offset_ = 0;                  // within the first
};

/// Not at the end.
std::size_t send_pieces(descriptor_user& user, const piece_walk<const std::byte>& from, std::error_code& ec) {
  operation op(op_kind::send_message, user.fd());
  message what;
  if (from.describe(what, op) == 1) {
    return send_once(user, from.piece(), ec);
  }
  op.flags = MSG_NOSIGNAL;
  return sent(user, user.perform(op), ec);
}

std::size_t receive_pieces(descriptor_user& user, const piece_walk<std::byte>& into, std::error_code& ec) {
  operation op(op_kind::receive_message, user.fd());
  message what;
  if (into.describe(what, op) == 1) {
    return receive_once(user, into.piece(), ec);
  }
  return received(user, user.perform(op), ec);
}

/// Returns: bytes, of all `buffers` together.
std::size_t take_unread(stream_socket& socket, std::span<const std::span<std::byte>> buffers, std::error_code& ec) noexcept {
  socket.unread.check(ec);
  std::size_t got = 0;
  for (const std::span<std::byte> buffer : buffers) {
    got += socket.unread.take(buffer, ec);
  }
  return got;
}

}  // namespace

std::size_t receive_some(stream_socket& socket, std::span<const std::span<std::byte>> buffers,
                         std::error_code& ec, const char* who) {
  descriptor_user user(socket.handle, use::reader, who);
  if (!user) {
    enter_wait();
    ec = io::errc::closed;
    return 0;
  }
  const piece_walk<std::byte> into(buffers);
  if (!into.at_end() && socket.unread.empty()) {
    return receive_pieces(user, into, ec);
  }
  enter_wait();
  count_ready();
  return take_unread(socket, buffers, ec);
}

void receive_exactly(stream_socket& socket, std::span<const std::span<std::byte>> buffers,
                     std::error_code& ec, const char* who) {
  enter_wait();
  descriptor_user user(socket.handle, use::reader, who);
  if (!user) {
    ec = io::errc::closed;
    return;
  }
  std::size_t got = take_unread(socket, buffers, ec);
  piece_walk<std::byte> into(buffers);
  into.advance(got);
  if (into.at_end() || ec) {
    count_ready();
    return;
  }
  try {
    do {
      const std::size_t count = receive_pieces(user, into, ec);
      if (count == 0 && !ec) {
        ec = io::errc::end_of_stream;
      }
      into.advance(count);
      got += count;
    } while (!into.at_end() && !ec);
  } catch (...) {
    socket.unread.put_back(buffers, got);
    throw;
  }
  if (ec) {
    socket.unread.put_back(buffers, got);
  }
}

std::size_t send_some(stream_socket& socket, std::span<const std::span<const std::byte>> parts,
                      std::error_code& ec, const char* who) {
  descriptor_user user(socket.handle, use::writer, who);
  const piece_walk<const std::byte> from(parts);
  if (user && !from.at_end()) {
    return send_pieces(user, from, ec);
  }
  enter_wait();
  if (!user) {
    ec = io::errc::closed;
  }
  return 0;
}

void send_all(stream_socket& socket, std::span<const std::span<const std::byte>> parts,
              std::size_t& written, std::error_code& ec, const char* who) {
  written = 0;
  descriptor_user user(socket.handle, use::writer, who);
  piece_walk<const std::byte> from(parts);
  if (!user || from.at_end()) {
    enter_wait();
    if (!user) {
      ec = io::errc::closed;
    }
    return;
  }
  while (!from.at_end() && !ec) {
    const std::size_t count = send_pieces(user, from, ec);
    from.advance(count);
    written += count;
  }
}

}  // namespace aramid::inline v0::detail
