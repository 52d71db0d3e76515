// A TCP server: a fiber for each connection, as many at a time as you allow, and an orderly end.
//
//     tcp_server server(endpoint("127.0.0.1", 7777), converse, {.max_connections = 10'000});
//     signal_set signals{SIGINT, SIGTERM};
//     fiber<> watch = spawn([&] {
//       signals.wait();
//       server.stop();
//     });
//     server.serve();    // until `stop`
//     server.drain(5s);  // the connections may finish; what is left after 5 s is cancelled
//
// gevent's StreamServer, asyncio's start_server, the accept loop of Go's http.Server. The handlers belong to the server, not to `serve`:
// they go on when that returns, until `drain` or the destructor has ended them.
//
// Connections that the kernel has accepted and the server has not taken when it stops: closing the listening socket resets them, unless
// another descriptor of that socket is open somewhere (systemd's, another process's after fork, a dup): then they wait for
// whoever accepts there. It is never shut down, only closed.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <system_error>

#include <aramid/detail/config.hpp>
#include <aramid/detail/deadline.hpp>
#include <aramid/io/endpoint.hpp>
#include <aramid/io/tcp.hpp>

namespace aramid::inline v0::io {

struct server_options {
  /// Connections whose handler has not ended, at most. At the limit nothing is accepted: the next ones wait in the kernel (listen_options::backlog).
  std::size_t max_connections = std::numeric_limits<std::size_t>::max();
  /// Hears of each exception that a handler lets out, on that handler's fiber and after its connection has ended; it may suspend, and should
  /// not throw. Without one they are logged, with `name`. Peers that reset their connection are among them.
  std::function<void(std::exception_ptr)> on_error = nullptr;
  /// Of the fibers that run the handlers, for people: logs, dumps. Cut at 31 bytes.
  std::string name = "tcp_server";
};

/// Since the server was made. All of one moment: accepted == active + finished + failed + cancelled.
struct server_statistics {
  std::size_t active = 0;       ///< connections whose handler has not ended
  std::uint64_t accepted = 0;   ///< ever
  std::uint64_t finished = 0;   ///< whose handler returned
  std::uint64_t failed = 0;     ///< whose handler let an exception out, or could not be started
  std::uint64_t cancelled = 0;  ///< whose handler was cut short by `drain` (or never began before it)

  friend bool operator==(const server_statistics&, const server_statistics&) = default;
};

/// Listens from the moment it is made; accepts while somebody is in `serve`.
/// Threads: `stop`, `stats` and what asks from any; `drain` from any fiber (or thread) but a handler's; `serve` from one at a time. Made and
///          destroyed by one fiber or thread.
class ARAMID_API tcp_server {
public:
  /// What is done with a connection, by several fibers at once. The connection is the handler's; it is closed when
  /// the handler lets go of it. An exception ends this connection only.
  using handler = std::function<void(tcp_stream)>;

  /// Serves at `where`; port 0 lets the kernel choose.
  /// Suspends: never. Needs no runtime.
  /// Throws:   std::system_error as tcp_listener; std::invalid_argument if `max_connections` is 0 or `handle` is empty.
  tcp_server(const endpoint& where, handler handle, server_options options = {});

  /// Serves what comes to `listener`: for listen_options other than the default, or a socket that was passed in.
  tcp_server(tcp_listener listener, handler handle, server_options options = {});

  /// Stops, waits for a `serve` to return, cancels the handlers and joins them.
  /// Suspends: until all have ended; a handler must not be who does it. Cancels: never (shielded).
  ~tcp_server();

  tcp_server(const tcp_server&) = delete;
  tcp_server& operator=(const tcp_server&) = delete;

  /// Accepts connections and starts a handler for each, until `stop`. Where descriptors or memory run out it waits until there are
  /// some, as tcp_listener::accept_with_backoff.
  /// Suspends: until `stop`; returns at once if that has come before.
  /// Cancels:  throws aramid::cancelled; every connection that was taken has its handler, the others wait, and it may be called
  ///           again. The handlers go on. One for whose handler there is no memory waits here for the next `serve`, open.
  /// Throws:   std::system_error if the listener fails; std::logic_error if somebody serves already, it has been stopped and served to its end,
  ///           or the caller belongs to no runtime.
  /// Threads:  one at a time.
  void serve();

  /// Ends `serve`, for good. The handlers go on. The port is given back as `serve` returns, or by `drain` or the destructor where there is none.
  /// Harmless twice. Not for a handler of sigaction(2).
  /// Suspends: never. Threads: any fiber or thread, handlers included.
  void stop() noexcept;

  /// Stops, waits for the handlers to return, but no longer than `grace`, then cancels those that are left and joins them. A second one
  /// with a shorter grace, from elsewhere, hurries the first.
  /// Suspends: until every handler has ended.
  /// Cancels:  throws aramid::cancelled; the server has been stopped, unless it was on entry, and the handlers that were not cancelled yet go on: the
  ///           destructor ends them.
  /// Returns:  how many were cut short meanwhile. One that was asked to end and returned, or failed, is not among them.
  /// Throws:   std::logic_error if called by a handler, which would wait for itself.
  template <class Rep, class Period>
  std::size_t drain(std::chrono::duration<Rep, Period> grace) {
    return drain_until(detail::deadline_in(grace));
  }

  /// As `drain`, with a point in time for the end of the grace.
  std::size_t drain_until(time_point deadline);

  /// As tcp_listener's: errc::closed once it has stopped.
  [[nodiscard]] endpoint local_endpoint() const;
  [[nodiscard]] endpoint local_endpoint(std::error_code& ec) const;

  /// Suspends: never. Threads: any.
  [[nodiscard]] server_statistics stats() const noexcept;

private:
  class connection;
  class serving;
  struct state;

  const std::unique_ptr<state> state_;
};

}  // namespace aramid::inline v0::io
