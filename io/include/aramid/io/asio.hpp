// Our streams under Asio's synchronous stream concepts, so that Boost.Beast and Asio's own composed
// operations (read, write, read_until) run on fibers: blocking-style code, and only the fiber waits.
//
//     asio_stream stream(io::connect(server));
//     http::write(stream, request);              // boost::beast::http
//     http::read(stream, buffer, response);
//
// The one header that names Boost.Asio: <aramid/aramid.hpp> leaves it out, and it comes with a CMake
// component of its own, aramid::asio. It defines no BOOST_ASIO_… macro and needs none.
//
// Errors are what Asio's users look for: boost::system::error_code in Asio's categories, see
// `asio_error`; the end of a stream is asio::error::eof.
//
// Cancellation and deadlines throw aramid::cancelled, in both forms of each call, and so through the
// code of Asio and Beast that made it. A read or write that throws has transferred nothing, hence:
//
//   - http::read, http::read_header and http::read_some into a *parser* may be called again, with the
//     same buffer and parser, and go on where they were; http::write of a *serializer* likewise. Given
//     a message, both keep the parser (serializer) to themselves, and what it had taken goes with it:
//     end the connection, as after an error.
//   - asio::read_until and asio::read into an asio::streambuf leave there what they had got. A
//     dynamic_buffer over a string or vector is left with the room that it had grown by; what
//     asio::read and asio::write of plain buffers had transferred, they do not say: `bytes_read` and
//     `bytes_written` do.
//   - a websocket::stream may have been left with a frame cut in two, by its reads as well, which answer
//     pings: close the connection. (Only a read to which nothing at all had come may be repeated.) To
//     wait for messages with a deadline, read on a fiber of its own and receive from a channel.
//
// Timeouts that Beast has for its asynchronous functions (websocket::stream_base::timeout) do nothing
// here: that is what with_timeout is for.
#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <aramid/detail/config.hpp>
#include <aramid/fiber.hpp>
#include <aramid/io/error.hpp>
#include <aramid/io/tcp.hpp>

namespace aramid::inline v0 {

namespace detail {

// Boost's categories are never deleted through their base, and have no virtual destructor in all versions.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

/// A std::error_category as a boost::system one: Boost below 1.77 has no such thing.
class foreign_category final : public boost::system::error_category {
public:
  explicit foreign_category(const std::error_category& inner, const foreign_category* next) noexcept
      : inner_(inner), next_(next) {}

  /// The one that stands for `inner`. Never destroyed: error codes outlive everything.
  /// Throws: std::bad_alloc. Threads: any.
  static const foreign_category& of(const std::error_category& inner) {
    static std::atomic<const foreign_category*> all{nullptr};
    const foreign_category* first = all.load();
    if (const foreign_category* const found = find(inner, first, nullptr)) {
      return *found;
    }
    auto* const made = new foreign_category(inner, first);
    while (!all.compare_exchange_strong(made->next_, made)) {
      if (const foreign_category* const found = find(inner, made->next_, first)) {
        delete made;
        return *found;
      }
      first = made->next_;
    }
    return *made;
  }

  [[nodiscard]] const char* name() const noexcept override { return inner_.name(); }

  [[nodiscard]] std::string message(int code) const override { return inner_.message(code); }

  [[nodiscard]] boost::system::error_condition default_error_condition(int code) const noexcept override {
    const std::error_condition condition = inner_.default_error_condition(code);
    if (condition.category() == std::generic_category()) {
      return {condition.value(), boost::system::generic_category()};
    }
    return {code, *this};
  }

private:
  /// Among those from `first` on, up to `end`.
  static const foreign_category* find(const std::error_category& inner, const foreign_category* first,
                                      const foreign_category* end) noexcept {
    while (first != end && first->inner_ != inner) {
      first = first->next_;
    }
    return first != end ? first : nullptr;
  }

  const std::error_category& inner_;
  const foreign_category* next_;  // whoever publishes it, before
};

#pragma GCC diagnostic pop

/// Where Asio keeps the services that go with our executor. Nobody runs it.
inline boost::asio::execution_context& asio_context() {
  // Never destroyed: streams may live as long as statics do.
  static auto* const context = new boost::asio::io_context;
  return *context;
}

}  // namespace detail

namespace io {

/// `code` as Asio's users know it:
///
///   - errors of the system are in boost::system::system_category, so that
///     `== asio::error::connection_reset` holds; errors of std::generic_category in Boost's;
///   - errc::end_of_stream is asio::error::eof;
///   - errc::closed is asio::error::operation_aborted, as an operation gets whose socket is closed
///     under it. A call on a stream that had been closed before gets the same (not bad_descriptor, as
///     from Asio): which of the two it was is a matter of chance where several fibers are at it;
///   - any other category keeps its name, messages and conditions.
///
/// Throws: std::bad_alloc, for a category that is new to it. Threads: any.
[[nodiscard]] inline boost::system::error_code asio_error(const std::error_code& code) {
  if (!code) {
    return {};
  }
  if (code.category() == std::system_category()) {
    return {code.value(), boost::system::system_category()};
  }
  if (code.category() == std::generic_category()) {
    return {code.value(), boost::system::generic_category()};
  }
  if (code == errc::end_of_stream) {
    return boost::asio::error::eof;
  }
  if (code == errc::closed) {
    return boost::asio::error::operation_aborted;
  }
  return {code.value(), detail::foreign_category::of(code.category())};
}

/// An Asio executor whose work is fibers: `asio::post(executor, fn)` starts a detached fiber that runs
/// `fn`, in the runtime of the caller. It is what `asio_stream::get_executor` returns, because Asio and
/// Beast demand one of a stream. Their synchronous functions put nothing on it, but a websocket::stream
/// and an ssl::stream keep timers on it that their asynchronous functions would use. For those there is
/// an execution context, one in the process, made when it is first asked for, that no thread runs: an
/// epoll instance, an eventfd and a timerfd.
///
/// Not asio::system_executor: the first websocket::stream would start two threads per CPU, which stay.
/// Throws: from `execute`, as `spawn`: std::logic_error outside of a runtime. What `fn` throws
///         terminates, as with any detached fiber.
class fiber_executor {
public:
  template <class Fn>
  void execute(Fn&& fn) const {
    spawn(std::forward<Fn>(fn)).detach();
  }

  [[nodiscard]] static boost::asio::execution_context& query(boost::asio::execution::context_t) {
    return detail::asio_context();
  }

  /// `execute` never runs `fn` before it returns.
  [[nodiscard]] static constexpr boost::asio::execution::blocking_t query(
      boost::asio::execution::blocking_t) noexcept {
    return boost::asio::execution::blocking_t::never_t();
  }

  friend bool operator==(const fiber_executor&, const fiber_executor&) noexcept { return true; }
  friend bool operator!=(const fiber_executor&, const fiber_executor&) noexcept { return false; }
};

/// What an asio_stream stands on: tcp_stream and its like.
template <class S>
concept blocking_stream = requires(S& stream, std::span<std::byte> buffer, std::span<const std::byte> data,
                                   std::error_code& ec) {
  { stream.read_some(buffer, ec) } -> std::same_as<std::size_t>;
  { stream.write_some(data, ec) } -> std::same_as<std::size_t>;
  stream.close();
};

/// A stream of ours as Asio's SyncReadStream and SyncWriteStream. S is the stream, which it then owns, or
/// a reference to one that outlives it.
/// Threads: as the stream below: one reader and one writer at a time, `close` from any beside them.
template <class S>
  requires blocking_stream<std::remove_reference_t<S>>
class asio_stream {
public:
  using next_layer_type = std::remove_reference_t<S>;
  using lowest_layer_type = asio_stream;  // what has the executor; beast::get_lowest_layer gives S's lowest
  using executor_type = fiber_executor;

  /// Over a stream that is closed.
  asio_stream() noexcept(std::is_nothrow_default_constructible_v<S>)
    requires std::default_initializable<S>
  = default;

  explicit asio_stream(S&& stream) noexcept(std::is_nothrow_constructible_v<S, S&&>)
      : stream_(static_cast<S&&>(stream)) {}

  [[nodiscard]] executor_type get_executor() const noexcept { return {}; }

  [[nodiscard]] next_layer_type& next_layer() noexcept { return stream_; }
  [[nodiscard]] const next_layer_type& next_layer() const noexcept { return stream_; }

  [[nodiscard]] lowest_layer_type& lowest_layer() noexcept { return *this; }
  [[nodiscard]] const lowest_layer_type& lowest_layer() const noexcept { return *this; }

  /// Reads at least one byte into `buffers`.
  /// Suspends: until data, end of stream, error, close or cancellation.
  /// Cancels:  throws aramid::cancelled; nothing has been taken.
  /// Owns:     borrows what `buffers` refer to until return.
  /// Returns:  bytes read; 0 if `buffers` are empty.
  /// Throws:   boost::system::system_error (asio::error::eof, connection_reset, operation_aborted, …);
  ///           std::logic_error if somebody reads already.
  /// Threads:  one reader at a time.
  template <class MutableBufferSequence>
    requires boost::asio::is_mutable_buffer_sequence<MutableBufferSequence>::value
  std::size_t read_some(const MutableBufferSequence& buffers) {
    boost::system::error_code ec;
    const std::size_t count = read_some(buffers, ec);
    if (ec) {
      throw boost::system::system_error(ec, "asio_stream::read_some");
    }
    return count;
  }

  template <class MutableBufferSequence>
    requires boost::asio::is_mutable_buffer_sequence<MutableBufferSequence>::value
  std::size_t read_some(const MutableBufferSequence& buffers, boost::system::error_code& ec) {
    const parts<boost::asio::mutable_buffer, std::span<std::byte>, reads_into_several<std::span<std::byte>>> into(buffers);
    std::error_code code;
    const std::size_t count =
        into.transfer([&](auto what) { return stream_.read_some(what, code); });
    if (count == 0 && !code && !into.empty()) {
      code = errc::end_of_stream;
    }
    ec = asio_error(code);
    bytes_read_ += count;
    return count;
  }

  /// Writes at least one byte of `buffers`.
  /// Suspends: while the peer does not take them.
  /// Cancels:  throws aramid::cancelled; nothing has been written.
  /// Owns:     borrows what `buffers` refer to until return.
  /// Returns:  bytes written; 0 if `buffers` are empty.
  /// Throws:   boost::system::system_error (broken_pipe, connection_reset, operation_aborted, …);
  ///           std::logic_error if somebody writes already.
  /// Threads:  one writer at a time.
  template <class ConstBufferSequence>
    requires boost::asio::is_const_buffer_sequence<ConstBufferSequence>::value
  std::size_t write_some(const ConstBufferSequence& buffers) {
    boost::system::error_code ec;
    const std::size_t count = write_some(buffers, ec);
    if (ec) {
      throw boost::system::system_error(ec, "asio_stream::write_some");
    }
    return count;
  }

  template <class ConstBufferSequence>
    requires boost::asio::is_const_buffer_sequence<ConstBufferSequence>::value
  std::size_t write_some(const ConstBufferSequence& buffers, boost::system::error_code& ec) {
    const parts<boost::asio::const_buffer, std::span<const std::byte>, writes_from_several<std::span<const std::byte>>> from(buffers);
    std::error_code code;
    const std::size_t count =
        from.transfer([&](auto what) { return stream_.write_some(what, code); });
    ec = asio_error(code);
    bytes_written_ += count;
    return count;
  }

  /// How many bytes have gone through `read_some` (`write_some`) since the stream was made. They tell how
  /// far an asio::read (asio::write) came that was cut short by an exception.
  /// Suspends: never. Threads: as the reader (writer).
  [[nodiscard]] std::uint64_t bytes_read() const noexcept { return bytes_read_; }
  [[nodiscard]] std::uint64_t bytes_written() const noexcept { return bytes_written_; }

  /// Closes the stream below, as that says. A reader and a writer that wait get operation_aborted.
  void close() { stream_.close(); }
  void close(boost::system::error_code& ec) {
    stream_.close();
    ec.clear();
  }

  /// For beast::close_socket, where the asio_stream itself is the socket.
  friend void beast_close_socket(asio_stream& stream) { stream.close(); }

private:
  template <class Part>
  static constexpr bool reads_into_several =
      requires(next_layer_type& stream, std::span<const Part> parts, std::error_code& ec) {
        { stream.read_some(parts, ec) } -> std::same_as<std::size_t>;
      };

  template <class Part>
  static constexpr bool writes_from_several =
      requires(next_layer_type& stream, std::span<const Part> parts, std::error_code& ec) {
        { stream.write_some(parts, ec) } -> std::same_as<std::size_t>;
      };

  /// How a sequence of buffers becomes one call of the stream's: all of it (the first 16 parts, as Asio's
  /// own composed operations have no more) where the stream has a call for several, else the first one
  /// that is not empty, as a `_some` may.
  template <class Buffer, class Part, bool Several>
  class parts {
  public:
    template <class Buffers>
    explicit parts(const Buffers& buffers) {
      const auto end = boost::asio::buffer_sequence_end(buffers);
      for (auto each = boost::asio::buffer_sequence_begin(buffers); each != end && count_ < parts_.size(); ++each) {
        const Buffer buffer(*each);
        if (buffer.size() != 0) {
          parts_[count_++] = Part(static_cast<typename Part::pointer>(buffer.data()), buffer.size());
        }
      }
    }

    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }

    /// Of an empty sequence too: the call is a cancellation point.
    template <class Call>
    std::size_t transfer(Call&& call) const {
      if constexpr (Several) {
        if (count_ > 1) {
          return call(std::span<const Part>(parts_.data(), count_));
        }
      }
      return call(parts_[0]);
    }

  private:
    std::array<Part, Several ? 16 : 1> parts_{};
    std::size_t count_ = 0;
  };

  S stream_;
  std::uint64_t bytes_read_ = 0;     // the reader
  std::uint64_t bytes_written_ = 0;  // the writer
};

/// Of an lvalue: a reference to it.
template <class S>
asio_stream(S&&) -> asio_stream<S>;

/// For beast::close_socket: beast::get_lowest_layer looks through an asio_stream and finds one of ours.
template <blocking_stream S>
void beast_close_socket(S& stream) {
  stream.close();
}

/// Ends a connection as WebSocket wants it (RFC 6455, 7.1.1): the server says first that it will write no
/// more. Found by Beast when a websocket::stream over an asio_stream is closed or fails.
/// Suspends: until the peer has ended its side too: put a deadline around websocket::stream::close.
/// Cancels:  throws aramid::cancelled; the stream is still open.
/// Returns:  with the stream closed; an error of its last operation in `ec`.
template <class S>
void teardown(boost::beast::role_type role, asio_stream<S>& stream, boost::system::error_code& ec) {
  ec.clear();
  const auto end_writing = [&] {
    // A stream that has no such call (TLS is one) says it as it is closed.
    if constexpr (requires(std::error_code& code) { stream.next_layer().shutdown(shutdown_how::write, code); }) {
      std::error_code code;
      stream.next_layer().shutdown(shutdown_how::write, code);
      ec = asio_error(code);
    }
  };
  if (role == boost::beast::role_type::server) {
    end_writing();
  }
  std::array<std::byte, 2048> unwanted;
  while (!ec) {
    stream.read_some(boost::asio::buffer(unwanted), ec);
  }
  if (ec == boost::asio::error::eof) {
    ec.clear();
    if (role == boost::beast::role_type::client) {
      end_writing();
    }
  }
  stream.close();
}

}  // namespace io
}  // namespace aramid::inline v0
