// Gives every byte back. A fiber per connection.
//
//     echo_server --port 7777        and from another terminal: nc 127.0.0.1 7777
//
// On Ctrl-C it stops accepting, lets the connections finish for a while, cancels the rest and exits 0.

#include <sys/resource.h>

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <iostream>
#include <span>
#include <string>
#include <system_error>

#include <CLI/CLI.hpp>
#include <aramid/aramid.hpp>

using namespace aramid;

namespace {

void echo(io::tcp_stream peer) {
  peer.no_delay(true);
  std::array<std::byte, 4096> buffer;
  while (const std::size_t count = peer.read_some(buffer)) {
    peer.write_all(std::span(buffer).first(count));
  }
}

void serve(const io::endpoint& where, std::chrono::duration<double> grace) {
  // A peer that resets its connection has ended its own fiber, and nobody else's.
  io::tcp_server server(where, echo, {.on_error = [](const std::exception_ptr&) {}, .name = "echo"});
  io::signal_set signals{SIGINT, SIGTERM};
  fiber<> watch = spawn([&] {
    signals.wait();
    server.stop();
  });
  std::cout << "listening on " << server.local_endpoint().to_string() << std::endl;
  server.serve();
  server.drain(grace);
}

void raise_descriptor_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

/// CLI11's own ranges let "" pass for 0, and nan for anything.
CLI::Validator number_up_to(int most) {
  return CLI::Validator(
      [most](const std::string& text) {
        double number = 0;
        const char* const end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data(), end, number);
        const bool good = stop == end && error == std::errc() && number >= 0 && number <= most;
        return good ? std::string() : "'" + text + "' is not a number from 0 to " + std::to_string(most);
      },
      "NUMBER");
}

}  // namespace

int main(int argc, char** argv) {
  std::string host = "127.0.0.1";
  std::uint16_t port = 7777;
  double grace_seconds = 1.0;
  options opts;
  CLI::App app("Gives every byte back, a fiber per connection.");
  app.add_option("--host", host, "numeric address to listen at")->capture_default_str();
  app.add_option("--port", port, "port to listen at; 0 lets the kernel choose")
      ->check(number_up_to(65535))
      ->capture_default_str();
  app.add_option("--workers", opts.workers, "threads; 0 is one per CPU")
      ->check(number_up_to(1024))
      ->capture_default_str();
  app.add_option("--grace", grace_seconds, "seconds that connections may take to finish after Ctrl-C")
      ->check(number_up_to(3600))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    raise_descriptor_limit();
    run([&] { serve(io::endpoint(host, port), std::chrono::duration<double>(grace_seconds)); }, opts);
  } catch (const std::exception& failure) {
    std::cerr << "echo_server: " << failure.what() << '\n';
    return 1;
  }
}
