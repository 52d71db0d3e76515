// TCP for fibers: blocking-style calls of which only the caller waits.
//
//     tcp_listener listener(endpoint("127.0.0.1", 7777));
//     tcp_stream stream = listener.accept();
//     std::array<std::byte, 4096> buffer;
//     while (std::size_t n = stream.read_some(buffer)) {
//       stream.write_all(std::span(buffer).first(n));
//     }
//
// Nothing is lost to a cancellation or a deadline (DESIGN §2, law 2): bytes that the kernel has
// handed over are returned, or still there for the next read; a connection that was accepted is
// returned; how far a cut-short `write_all` came can be had.
//
// A plain thread may make all of these calls too. It blocks, and a worker of the runtime in which
// the stream or listener was made (or which the thread has entered) does the work; once that
// runtime has ended such calls throw std::logic_error, and `close` and the destructor close
// plainly.
//
// How errors and cancellation come, in both forms of each call: io/error.hpp.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include <aramid/detail/config.hpp>
#include <aramid/io/endpoint.hpp>
#include <aramid/io/error.hpp>
#include <aramid/io/received_bytes.hpp>
#include <aramid/io/resolve.hpp>

namespace aramid::inline v0 {

namespace detail {
class descriptor;
struct stream_socket;
struct descriptor_delete {
  ARAMID_API void operator()(descriptor* gone) const noexcept;
  ARAMID_API void operator()(stream_socket* gone) const noexcept;
};
using descriptor_ptr = std::unique_ptr<descriptor, descriptor_delete>;
using stream_ptr = std::unique_ptr<stream_socket, descriptor_delete>;
}  // namespace detail

namespace io {

/// Which half of a connection `shutdown` ends.
enum class shutdown_how : int { read, write, both };

/// Several pieces of memory that are written, or read into, one after another as if they were one; some may be empty.
using const_parts = std::span<const std::span<const std::byte>>;
using mutable_parts = std::span<const std::span<std::byte>>;

/// When a connection on which nothing comes is looked after, and when it is given up. Zero leaves what the socket has (the system's
/// 2 hours, 75 seconds, 9 probes unless it was changed).
struct keep_alive_times {
  /// How long nothing has come before the first probe is sent (TCP_KEEPIDLE); up to 32767 s.
  std::chrono::seconds idle{0};
  /// How long an answer to a probe is waited for before the next one (TCP_KEEPINTVL); up to 32767 s.
  std::chrono::seconds interval{0};
  /// How many probes without an answer end the connection (TCP_KEEPCNT); up to 127.
  int count = 0;

  friend bool operator==(const keep_alive_times&, const keep_alive_times&) = default;
};

/// A connection. Moves, does not copy. Made by `connect`, `tcp_listener::accept` and `adopt`.
/// Threads: one reader and one writer at a time, each from any fiber or thread, and `close` and
///          `shutdown` from any beside them. A second reader or writer gets a std::logic_error.
///          Moving and destroying want it unused.
class ARAMID_API tcp_stream {
public:
  /// Closed.
  tcp_stream() noexcept = default;

  /// Takes a connected stream socket over, from wherever it came; -1 gives a closed stream.
  /// Owns:   `fd`, at once, also if this throws.
  /// Throws: std::bad_alloc.
  [[nodiscard]] static tcp_stream adopt(int fd);

  tcp_stream(tcp_stream&&) noexcept = default;
  tcp_stream& operator=(tcp_stream&&) noexcept = default;

  /// Closes.
  ~tcp_stream() = default;

  /// Reads at least one byte into `buffer`, or returns 0 at end of stream.
  /// Suspends: until data, end of stream, error, close or cancellation.
  /// Cancels:  throws aramid::cancelled; the kernel no longer holds `buffer`, and no byte has been
  ///           taken.
  /// Owns:     borrows `buffer` until return.
  /// Returns:  bytes read, 1..buffer.size(); 0 also if `buffer` is empty.
  /// Throws:   std::system_error (connection_reset, timed_out, errc::closed, errc::bytes_lost, …).
  /// Threads:  one reader at a time.
  std::size_t read_some(std::span<std::byte> buffer);
  std::size_t read_some(std::span<std::byte> buffer, std::error_code& ec);
  std::size_t read_some(std::span<char> buffer) {
    return read_some(std::as_writable_bytes(buffer));
  }
  std::size_t read_some(std::span<char> buffer, std::error_code& ec) {
    return read_some(std::as_writable_bytes(buffer), ec);
  }

  /// As above, into several buffers: each is filled before the next is begun. Returns: bytes read, over all of them; it may be
  /// fewer than they could take also because there are more than 64.
  std::size_t read_some(mutable_parts buffers);
  std::size_t read_some(mutable_parts buffers, std::error_code& ec);
  std::size_t read_some(std::initializer_list<std::span<std::byte>> buffers) {
    return read_some(mutable_parts(buffers));
  }
  std::size_t read_some(std::initializer_list<std::span<std::byte>> buffers, std::error_code& ec) {
    return read_some(mutable_parts(buffers), ec);
  }

  /// Fills `buffer`, or takes nothing: bytes that came before an error, the end of the stream or a
  /// cancellation are kept in the stream, and the next reads return them first.
  /// Suspends: until all is there, end of stream, error, close or cancellation.
  /// Cancels:  throws aramid::cancelled, see above.
  /// Owns:     borrows `buffer` until return; after a failure what is in it is unspecified.
  /// Throws:   std::system_error, as `read_some`, and errc::end_of_stream. If there is no memory to keep the bytes in, they are lost, and
  ///           every read from then on fails with errc::bytes_lost.
  /// Threads:  one reader at a time.
  void read_exactly(std::span<std::byte> buffer);
  void read_exactly(std::span<std::byte> buffer, std::error_code& ec);
  void read_exactly(std::span<char> buffer) { read_exactly(std::as_writable_bytes(buffer)); }
  void read_exactly(std::span<char> buffer, std::error_code& ec) {
    read_exactly(std::as_writable_bytes(buffer), ec);
  }

  /// As above, several buffers, however many: all of them, or nothing is taken.
  void read_exactly(mutable_parts buffers);
  void read_exactly(mutable_parts buffers, std::error_code& ec);
  void read_exactly(std::initializer_list<std::span<std::byte>> buffers) { read_exactly(mutable_parts(buffers)); }
  void read_exactly(std::initializer_list<std::span<std::byte>> buffers, std::error_code& ec) {
    read_exactly(mutable_parts(buffers), ec);
  }

  /// Reads what has come, at least one byte, into memory that is lent for it. A connection that waits here holds no buffer.
  /// Suspends: as read_some.
  /// Cancels:  throws aramid::cancelled; no byte has been taken.
  /// Owns:     the result gives the memory back; keep it for as long as you like.
  /// Returns:  at most 8 KiB; nothing at end of stream.
  /// Throws:   as read_some; not_enough_memory or std::bad_alloc for want of memory, and then no byte has been taken.
  /// Threads:  one reader at a time.
  [[nodiscard]] received_bytes receive();
  [[nodiscard]] received_bytes receive(std::error_code& ec);

  /// Writes at least one byte of `data`.
  /// Suspends: while the socket's buffer is full.
  /// Cancels:  throws aramid::cancelled; no byte has been written.
  /// Owns:     borrows `data` until return.
  /// Returns:  bytes written, 1..data.size(); 0 if `data` is empty.
  /// Throws:   std::system_error (broken_pipe, connection_reset, errc::closed, …). Never raises
  ///           SIGPIPE.
  /// Threads:  one writer at a time.
  std::size_t write_some(std::span<const std::byte> data);
  std::size_t write_some(std::span<const std::byte> data, std::error_code& ec);
  std::size_t write_some(std::string_view data) { return write_some(bytes(data)); }
  std::size_t write_some(std::string_view data, std::error_code& ec) {
    return write_some(bytes(data), ec);
  }

  /// As above, of several parts at once, without a copy that joins them. Returns: bytes written, over all of them.
  std::size_t write_some(const_parts data);
  std::size_t write_some(const_parts data, std::error_code& ec);
  std::size_t write_some(std::initializer_list<std::span<const std::byte>> data) {
    return write_some(const_parts(data));
  }
  std::size_t write_some(std::initializer_list<std::span<const std::byte>> data, std::error_code& ec) {
    return write_some(const_parts(data), ec);
  }

  /// Writes all of `data`.
  /// Suspends: while the socket's buffer is full.
  /// Cancels:  throws aramid::cancelled. How much had been written by then is in `written`, where
  ///           that form is used.
  /// Owns:     borrows `data` until return.
  /// Throws:   write_error, which is a std::system_error (as `write_some`) with the number of bytes
  ///           written.
  /// Threads:  one writer at a time.
  void write_all(std::span<const std::byte> data);
  void write_all(std::string_view data) { write_all(bytes(data)); }

  /// As above. However the call ends, by an exception too, `written` holds the number of bytes
  /// written.
  void write_all(std::span<const std::byte> data, std::size_t& written);
  void write_all(std::string_view data, std::size_t& written) { write_all(bytes(data), written); }

  /// As above, with the error in `ec`.
  /// Returns: bytes written; data.size() unless `ec` is set.
  std::size_t write_all(std::span<const std::byte> data, std::error_code& ec);
  std::size_t write_all(std::string_view data, std::error_code& ec) {
    return write_all(bytes(data), ec);
  }
  void write_all(std::span<const std::byte> data, std::size_t& written, std::error_code& ec);
  void write_all(std::string_view data, std::size_t& written, std::error_code& ec) {
    write_all(bytes(data), written, ec);
  }

  /// As above, each of several parts after the other, however many: `stream.write_all({header, body})`. What has been written is
  /// counted over all of them.
  void write_all(const_parts data);
  void write_all(const_parts data, std::size_t& written);
  std::size_t write_all(const_parts data, std::error_code& ec);
  void write_all(const_parts data, std::size_t& written, std::error_code& ec);
  void write_all(std::initializer_list<std::span<const std::byte>> data) { write_all(const_parts(data)); }
  void write_all(std::initializer_list<std::span<const std::byte>> data, std::size_t& written) {
    write_all(const_parts(data), written);
  }
  std::size_t write_all(std::initializer_list<std::span<const std::byte>> data, std::error_code& ec) {
    return write_all(const_parts(data), ec);
  }
  void write_all(std::initializer_list<std::span<const std::byte>> data, std::size_t& written, std::error_code& ec) {
    write_all(const_parts(data), written, ec);
  }

  /// Ends a half of the connection: the peer reads to the end (write), or our own reads return 0
  /// (read).
  /// Suspends: never. Throws: std::system_error (not_connected, errc::closed). Threads: any.
  void shutdown(shutdown_how how);
  void shutdown(shutdown_how how, std::error_code& ec);

  /// Closes. A reader and a writer that wait are woken and fail with errc::closed, as does every
  /// later call. Harmless twice.
  /// Suspends: until those have let go of the descriptor; so its number is never in use when it is
  ///           given back.
  /// Cancels:  never (shielded).
  /// Threads:  any; a call that comes while another one closes returns at once.
  void close() noexcept;

  [[nodiscard]] bool is_open() const noexcept;

  /// Throws: std::system_error (not_connected, errc::closed). Suspends: never. Threads: any.
  [[nodiscard]] endpoint local_endpoint() const;
  [[nodiscard]] endpoint local_endpoint(std::error_code& ec) const;
  [[nodiscard]] endpoint remote_endpoint() const;
  [[nodiscard]] endpoint remote_endpoint(std::error_code& ec) const;

  // Options. Each is set by a call with an argument and asked for by one without. A connection that was accepted begins with
  // those of its listener.
  // Suspends: never. Throws: std::system_error (errc::closed, …; what the socket does not have, as one of AF_UNIX that was
  // adopted has no keep-alive times, is operation_not_supported). Threads: any.

  /// Whether small writes go out at once (TCP_NODELAY) instead of waiting for the peer to
  /// acknowledge the ones before. As the kernel makes it: off.
  void no_delay(bool on);
  void no_delay(bool on, std::error_code& ec);
  [[nodiscard]] bool no_delay() const;
  [[nodiscard]] bool no_delay(std::error_code& ec) const;

  /// Whether the peer is probed when nothing comes from it (SO_KEEPALIVE); if it does not answer, reads and writes fail with
  /// timed_out. As the kernel makes it: off. `times` are looked at only if `on`. Data that wait to be acknowledged are not
  /// probed for but sent again, for about a quarter of an hour: a deadline on the answer is what helps there.
  /// Throws:  also std::invalid_argument naming what is out of range, before anything is changed; in the other form the code is
  ///          invalid_argument.
  /// Returns: the times in force; nullopt if it is off.
  void keep_alive(bool on, const keep_alive_times& times = {});
  void keep_alive(bool on, std::error_code& ec) { keep_alive(on, {}, ec); }
  void keep_alive(bool on, const keep_alive_times& times, std::error_code& ec);
  [[nodiscard]] std::optional<keep_alive_times> keep_alive() const;
  [[nodiscard]] std::optional<keep_alive_times> keep_alive(std::error_code& ec) const;

  /// How much the kernel keeps for the connection, in bytes (SO_RCVBUF, SO_SNDBUF). Unset, it adapts them to the connection, mostly
  /// better than a number does; set, they stay. The kernel doubles what it is given, for its own bookkeeping, within limits
  /// of its own (net.core.rmem_max, net.core.wmem_max, and a least size), and returns the doubled. A receive buffer of more than 64 KiB
  /// works fully only if it is set before the connection is made: listen_options has it.
  void receive_buffer_size(std::size_t bytes);
  void receive_buffer_size(std::size_t bytes, std::error_code& ec);
  [[nodiscard]] std::size_t receive_buffer_size() const;
  [[nodiscard]] std::size_t receive_buffer_size(std::error_code& ec) const;
  void send_buffer_size(std::size_t bytes);
  void send_buffer_size(std::size_t bytes, std::error_code& ec);
  [[nodiscard]] std::size_t send_buffer_size() const;
  [[nodiscard]] std::size_t send_buffer_size(std::error_code& ec) const;

  /// What becomes of bytes that are still under way when the stream is closed (SO_LINGER). nullopt, as the kernel makes it: `close` returns
  /// at once and the kernel sends them. Zero: they are thrown away, and the peer's reads and writes fail with connection_reset.
  /// Otherwise: close(2) waits until the peer has acknowledged them, so long at most, and *blocks its thread* meanwhile: do that in
  /// `blocking([&] { stream.close(); })`. To learn whether the peer has had everything, `shutdown(write)` and
  /// read to the end of its stream instead.
  /// Throws: also std::invalid_argument if `time` is negative; in the other form the code is invalid_argument.
  void linger(std::optional<std::chrono::seconds> time);
  void linger(std::optional<std::chrono::seconds> time, std::error_code& ec);
  [[nodiscard]] std::optional<std::chrono::seconds> linger() const;
  [[nodiscard]] std::optional<std::chrono::seconds> linger(std::error_code& ec) const;

  /// The descriptor, still ours, for setsockopt and the like; -1 if closed. Do not close it, nor
  /// set O_NONBLOCK on it.
  [[nodiscard]] int native_handle() const noexcept;

  /// Gives the descriptor up, open. Bytes that a failed `read_exactly` left in the stream are lost.
  /// Returns: the descriptor, now the caller's; -1 if closed. Throws: std::logic_error if somebody
  ///          uses it.
  [[nodiscard]] int release();

private:
  friend class tcp_listener;
  friend ARAMID_API tcp_stream connect(const endpoint& peer);
  friend ARAMID_API tcp_stream connect(const endpoint& peer, std::error_code& ec);

  explicit tcp_stream(detail::stream_ptr socket) noexcept : socket_(std::move(socket)) {}

  static std::span<const std::byte> bytes(std::string_view text) noexcept {
    return std::as_bytes(std::span(text));
  }

  detail::stream_ptr socket_;
};

/// Connects to `peer`.
/// Suspends: until connected, refused or cancelled.
/// Cancels:  throws aramid::cancelled; the attempt has been given up.
/// Throws:   std::system_error (connection_refused, network_unreachable, timed_out, …).
/// Threads:  any that belongs to a runtime: a fiber, or a thread that has entered one.
[[nodiscard]] ARAMID_API tcp_stream connect(const endpoint& peer);
[[nodiscard]] ARAMID_API tcp_stream connect(const endpoint& peer, std::error_code& ec);

struct connect_options {
  /// How long an attempt goes on alone before the next address is tried beside it. Zero tries all at
  /// once; RFC 8305 asks for 100 ms to 2 s where others' servers are tried.
  std::chrono::nanoseconds attempt_delay = std::chrono::milliseconds(250);
  /// For names.
  resolve_options names = {};
};

/// Connects to the first of `peers` that takes the connection: they are tried in their order, each when
/// the one before has failed or has had `attempt_delay`, and goes on beside it. When one has connected the others are
/// given up.
/// Suspends: until one is connected, all have failed, or cancellation.
/// Cancels:  throws aramid::cancelled; every attempt has been given up. A connection that came at the
///           same moment is returned instead.
/// Throws:   std::system_error, whose text has all attempts. Its code is that of the last one that got
///           beyond this machine (connection_refused rather than network_unreachable).
///           std::invalid_argument if `peers` is empty.
/// Threads:  as above.
[[nodiscard]] ARAMID_API tcp_stream connect(std::span<const endpoint> peers,
                                            const connect_options& options = {});
[[nodiscard]] ARAMID_API tcp_stream connect(std::span<const endpoint> peers,
                                            const connect_options& options, std::error_code& ec);

/// Looks `host` up and connects to the first of its addresses that takes the connection, as above: Happy Eyeballs
/// (RFC 8305). Both families take turns, beginning with that of the address that `resolve` gives first, so that
/// an address that is dead costs a quarter of a second and not a minute or more.
/// Suspends, Cancels, Threads: as above.
/// Throws:   as above, and as `resolve`.
[[nodiscard]] ARAMID_API tcp_stream connect(std::string_view host, std::uint16_t port,
                                            const connect_options& options = {});
[[nodiscard]] ARAMID_API tcp_stream connect(std::string_view host, std::uint16_t port,
                                            const connect_options& options, std::error_code& ec);
[[nodiscard]] inline tcp_stream connect(std::string_view host, std::uint16_t port,
                                        std::error_code& ec) {
  return connect(host, port, connect_options(), ec);
}

struct listen_options {
  /// How many connections may wait for `accept`; the kernel caps it at net.core.somaxconn.
  int backlog = 4096;
  /// Lets a server that was just stopped take its port again (SO_REUSEADDR).
  bool reuse_address = true;
  /// Lets several listeners share the port, the kernel dealing connections out (SO_REUSEPORT).
  bool reuse_port = false;
  /// An IPv6 listener takes IPv4 connections too unless this is set (IPV6_V6ONLY).
  bool only_ipv6 = false;
  /// As tcp_stream::receive_buffer_size and send_buffer_size, for the connections that come; 0 leaves them to the kernel. Here,
  /// because a connection settles how much it can announce as it is made.
  std::size_t receive_buffer_size_bytes = 0;
  std::size_t send_buffer_size_bytes = 0;
};

/// A port that takes connections. Moves, does not copy.
/// Threads: any number of fibers and threads may accept at once, and `close` from any. Moving and
///          destroying want it unused.
class ARAMID_API tcp_listener {
public:
  /// Closed.
  tcp_listener() noexcept = default;

  /// Listens at `where`; port 0 lets the kernel choose, see `local_endpoint`.
  /// Suspends: never. Needs no runtime.
  /// Throws:   std::system_error that names the call and the endpoint (address_in_use,
  ///           permission_denied, …).
  explicit tcp_listener(const endpoint& where, const listen_options& options = {});
  tcp_listener(const endpoint& where, const listen_options& options, std::error_code& ec);

  /// Takes a listening socket over, e.g. one that systemd passed; -1 gives a closed listener.
  /// Owns: `fd`, at once, also if this throws. Throws: std::bad_alloc.
  [[nodiscard]] static tcp_listener adopt(int fd);

  tcp_listener(tcp_listener&&) noexcept = default;
  tcp_listener& operator=(tcp_listener&&) noexcept = default;
  ~tcp_listener() = default;

  /// Takes the next connection. One that was gone before it could be taken is skipped.
  /// Suspends: until there is one, an error, close or cancellation.
  /// Cancels:  throws aramid::cancelled; no connection has been taken.
  /// Throws:   std::system_error: errc::closed; too_many_files_open, too_many_files_open_in_system,
  ///           no_buffer_space, not_enough_memory when the process or the system is out of
  ///           something. The connection then still waits; a server calls `accept_with_backoff`
  ///           instead, so as not to spin.
  [[nodiscard]] tcp_stream accept();
  [[nodiscard]] tcp_stream accept(std::error_code& ec);

  /// As `accept`, but when descriptors or memory run out it waits until a connection is there and
  /// tries again, at growing intervals (5 ms to 1 s).
  [[nodiscard]] tcp_stream accept_with_backoff();
  [[nodiscard]] tcp_stream accept_with_backoff(std::error_code& ec);

  /// Closes. Fibers that wait in `accept` are woken and fail with errc::closed. As
  /// tcp_stream::close.
  void close() noexcept;

  [[nodiscard]] bool is_open() const noexcept;

  /// Where it listens, with the port that the kernel chose. Throws: std::system_error
  /// (errc::closed). Suspends: never.
  [[nodiscard]] endpoint local_endpoint() const;
  [[nodiscard]] endpoint local_endpoint(std::error_code& ec) const;

  /// As tcp_stream's.
  [[nodiscard]] int native_handle() const noexcept;
  [[nodiscard]] int release();

private:
  detail::descriptor_ptr socket_;
};

}  // namespace io
}  // namespace aramid::inline v0
