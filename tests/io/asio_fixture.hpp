// What the tests of <aramid/io/asio.hpp> share.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/beast/core/error.hpp>

#include <aramid/fiber.hpp>
#include <aramid/io/asio.hpp>
#include <aramid/io/tcp.hpp>
#include <aramid/task_group.hpp>

#include "leak_check.hpp"
#include "tcp_pair.hpp"

namespace aramid::test {

using tcp_asio = io::asio_stream<io::tcp_stream>;

struct asio_pair {
  tcp_asio client;
  tcp_asio server;
};

inline asio_pair make_asio_pair() {
  tcp_pair ends = make_tcp_pair();
  return {tcp_asio(std::move(ends.client)), tcp_asio(std::move(ends.server))};
}

inline std::string_view text_of(const boost::asio::streambuf& buffer) {
  return {static_cast<const char*>(buffer.data().data()), buffer.size()};
}

/// The pattern's bytes from place `from` on, as text.
inline std::string pattern_text(std::size_t size, std::uint64_t from = 0) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    text[i] = static_cast<char>(pattern_at(from + i));
  }
  return text;
}

class with_asio : public on_each_driver {
protected:
  void SetUp() override {
    // The executor's context is the process's and stays, with its descriptors.
    boost::asio::steady_timer warm{io::fiber_executor()};
    on_each_driver::SetUp();
  }
};

/// Accepts, and gives each connection a fiber that runs `session(stream)`. The failures of sessions are counted and the last one kept.
class asio_service {
public:
  template <class Session>
  explicit asio_service(Session session)
      : sessions_(on_error::isolate, [this](const std::exception_ptr&) { ++failures_; }),
        acceptor_(spawn([this, session] {
          for (;;) {
            io::tcp_stream peer = listener_.accept();
            peer.no_delay(true);
            sessions_.spawn([session, peer = std::move(peer)]() mutable { session(tcp_asio(std::move(peer))); });
          }
        })) {}

  /// A connection to it.
  [[nodiscard]] tcp_asio connect() const {
    io::tcp_stream stream = io::connect(listener_.local_endpoint());
    stream.no_delay(true);
    return tcp_asio(std::move(stream));
  }

  [[nodiscard]] io::endpoint where() const { return listener_.local_endpoint(); }

  /// Waits for the sessions that have begun.
  void join() { sessions_.join(); }

  /// Ends the sessions where they wait.
  void cancel() { sessions_.cancel(); }

  /// That have thrown. Cancelled ones are not among them.
  [[nodiscard]] int failures() const { return failures_; }

private:
  std::atomic<int> failures_{0};
  io::tcp_listener listener_{loopback};
  task_group sessions_;
  fiber<> acceptor_;
};

}  // namespace aramid::test
