#include "stream_socket.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <new>

#include <aramid/driver.hpp>

#include "calls.hpp"
#include "epoll/attempt.hpp"
#include "operation.hpp"
#include "uring/lent_buffers.hpp"

namespace aramid::inline v0::detail {
namespace {

/// By one receive_lent; what io_uring's buffers hold (uring/lent_buffers.hpp).
constexpr std::uint32_t most_lent = lent_buffers::buffer_bytes;

constexpr std::align_val_t stream_alignment{alignof(stream_socket)};

}  // namespace

stream_ptr make_stream(int fd, runtime_ref home) {
  stream_room room;
  if (!room) {
    ::close(fd);
    throw std::bad_alloc();
  }
  return room.make_stream(fd, std::move(home));
}

stream_room::stream_room() noexcept : memory_(::operator new(sizeof(stream_socket), stream_alignment, std::nothrow)) {}

// Without the size: clang 14 declares that form only where it is asked to.
stream_room::~stream_room() { ::operator delete(memory_, stream_alignment); }

stream_ptr stream_room::make_stream(int fd, runtime_ref home) noexcept {
  return stream_ptr(new (std::exchange(memory_, nullptr)) stream_socket(fd, std::move(home)));
}

namespace {

/// Whether nothing comes nor goes any more, not even what has been sent: then nobody waits for it long.
bool is_dead(int fd) noexcept { return (poll_now(fd, 0) & POLLHUP) != 0; }

/// stream_socket.hpp, "The end", 1.
void note(descriptor_user& user, std::int32_t result) noexcept {
  if (result != -EPIPE && result != -ENOTCONN && is_dead(user.fd())) {
    user.note_broken_by(-result);
  }
}

/// At the end of the stream. Returns: the error that it is in truth, or 0.
int error_behind_end(descriptor_user& reader) noexcept {
  if (ARAMID_UNLIKELY(reader.has_writer()) && reader.broken_by() == 0 && is_dead(reader.fd())) {
    reader.wait_for_writer();
  }
  return reader.broken_by();
}

}  // namespace

std::size_t received_nothing(descriptor_user& user, std::int32_t result, std::error_code& ec) noexcept {
  if (result < 0) {
    note(user, result);
  }
  // A close of ours looks like an end of stream to the kernel.
  if (user.closing()) {
    ec = io::errc::closed;
  } else if (result < 0) {
    ec = system_error_of(result);
  } else if (const int error = error_behind_end(user); error != 0) {
    ec = system_error_of(-error);
  }
  return 0;
}

std::size_t send_failed(descriptor_user& user, std::int32_t result, std::error_code& ec) noexcept {
  note(user, result);
  ec = user.closing() ? std::error_code(io::errc::closed) : system_error_of(result);
  return 0;
}

std::size_t receive_some(stream_socket& socket, std::span<std::byte> buffer, std::error_code& ec,
                         const char* who) {
  descriptor_user user(socket.handle, use::reader, who);
  if (!user) {
    enter_wait();
    ec = io::errc::closed;
    return 0;
  }
  if (buffer.empty() || !socket.unread.empty()) {
    enter_wait();
    count_ready();
    return socket.unread.take(buffer, ec);
  }
  return receive_once(user, buffer, ec);
}

namespace {

using heap_buffer = std::unique_ptr<std::byte, decltype([](std::byte* gone) { std::free(gone); })>;

heap_buffer make_heap_buffer() {
  heap_buffer made(static_cast<std::byte*>(std::malloc(most_lent)));
  if (made == nullptr) {
    throw std::bad_alloc();
  }
  return made;
}

/// Where the driver has nothing to lend. Waits without memory, too.
io::received_bytes receive_on_heap(descriptor_user& user, std::error_code& ec) {
  operation readable(op_kind::poll, user.fd());
  readable.flags = POLLIN;
  if (const std::int32_t result = user.perform(readable); result < 0) {
    (void)received(user, result, ec);
    return {};
  }
  heap_buffer buffer = make_heap_buffer();
  const std::size_t count = receive_once(user, {buffer.get(), most_lent}, ec);
  return count == 0 ? io::received_bytes() : io::received_bytes(buffer.release(), count, nullptr);
}

}  // namespace

io::received_bytes receive_lent(stream_socket& socket, std::error_code& ec, const char* who) {
  descriptor_user user(socket.handle, use::reader, who);
  if (!user) {
    enter_wait();
    ec = io::errc::closed;
    return {};
  }
  if (!socket.unread.empty()) {
    enter_wait();
    count_ready();
    socket.unread.check(ec);
    if (ec) {
      return {};
    }
    heap_buffer buffer = make_heap_buffer();
    const std::size_t count = socket.unread.take({buffer.get(), most_lent}, ec);
    return count == 0 ? io::received_bytes() : io::received_bytes(buffer.release(), count, nullptr);
  }
  operation op(op_kind::receive_lent, user.fd());
  op.length = most_lent;
  const std::int32_t result = user.perform(op);
  if (ARAMID_UNLIKELY(result == -ENOBUFS)) {
    return receive_on_heap(user, ec);
  }
  const std::size_t count = received(user, result, ec);
  return count == 0 ? io::received_bytes() : io::received_bytes(static_cast<std::byte*>(op.address), count, op.lender);
}

void receive_exactly(stream_socket& socket, std::span<std::byte> buffer, std::error_code& ec,
                     const char* who) {
  enter_wait();
  descriptor_user user(socket.handle, use::reader, who);
  if (!user) {
    ec = io::errc::closed;
    return;
  }
  std::size_t got = socket.unread.take(buffer, ec);
  if (got == buffer.size() || ec) {
    count_ready();
    return;
  }
  try {
    do {
      const std::size_t count = receive_once(user, buffer.subspan(got), ec);
      if (count == 0 && !ec) {
        ec = io::errc::end_of_stream;
      }
      got += count;
    } while (got < buffer.size() && !ec);
  } catch (...) {
    socket.unread.put_back({&buffer, 1}, got);
    throw;
  }
  if (ec) {
    socket.unread.put_back({&buffer, 1}, got);
  }
}

std::size_t send_some(stream_socket& socket, std::span<const std::byte> data, std::error_code& ec,
                      const char* who) {
  descriptor_user user(socket.handle, use::writer, who);
  if (!user || data.empty()) {
    enter_wait();
    if (!user) {
      ec = io::errc::closed;
    }
    return 0;
  }
  return send_once(user, data, ec);
}

void send_all(stream_socket& socket, std::span<const std::byte> data, std::size_t& written,
              std::error_code& ec, const char* who) {
  written = 0;
  descriptor_user user(socket.handle, use::writer, who);
  if (!user || data.empty()) {
    enter_wait();
    if (!user) {
      ec = io::errc::closed;
    }
    return;
  }
  while (written < data.size() && !ec) {
    written += send_once(user, data.subspan(written), ec);
  }
}

}  // namespace aramid::inline v0::detail
