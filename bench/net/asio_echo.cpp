// Peer: an echo server with Boost.Asio's C++20 coroutines, one io_context on one thread.
#include "echo_server.h"

#include <utility>  // Boost 1.74's awaitable.hpp uses std::exchange without it

#include <boost/asio.hpp>

#include <array>
#include <cstdlib>
#include <exception>
#include <iostream>

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

asio::awaitable<void> echo(tcp::socket socket) {
  boost::system::error_code error;
  std::array<char, echo_buffer_bytes> bytes;
  for (;;) {
    const auto received = co_await socket.async_read_some(
        asio::buffer(bytes), asio::redirect_error(asio::use_awaitable, error));
    if (error) {
      co_return;
    }
    co_await asio::async_write(socket, asio::buffer(bytes, received),
                               asio::redirect_error(asio::use_awaitable, error));
    if (error) {
      co_return;
    }
  }
}

asio::awaitable<void> serve(tcp::acceptor& acceptor) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer pause(executor);
  for (;;) {
    boost::system::error_code error;
    tcp::socket socket =
        co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (error) {  // no descriptor is left, as a rule
      pause.expires_after(std::chrono::milliseconds(10));
      co_await pause.async_wait(asio::use_awaitable);
      continue;
    }
    socket.set_option(tcp::no_delay(true), error);
    asio::co_spawn(executor, echo(std::move(socket)), asio::detached);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const echo_arguments arguments = echo_parse(argc, argv);
  try {
    echo_raise_descriptor_limit();
    asio::io_context context(1);
    tcp::acceptor acceptor(context, {asio::ip::make_address_v4(arguments.host), arguments.port});
    acceptor.listen(echo_backlog);
    asio::signal_set signals(context, SIGINT, SIGTERM);
    signals.async_wait([](const boost::system::error_code&, int) { std::_Exit(0); });
    echo_print_listening(arguments.host, acceptor.local_endpoint().port());
    asio::co_spawn(context, serve(acceptor), asio::detached);
    context.run();
  } catch (const std::exception& error) {
    std::cerr << argv[0] << ": " << error.what() << '\n';
    return 1;
  }
}
