// Gives every byte back, as examples/echo_server.cpp does, but its connections hold no buffer while nothing comes (tcp_stream::receive). With
// --stall BYTES it serves the stalled load (stall.h), in requests of so many bytes. At its end it prints what the scheduler did.
#include "echo_server.h"
#include "stall.h"

#include <array>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <iostream>
#include <span>
#include <stdexcept>
#include <string>

#include <aramid/aramid.hpp>

using namespace aramid;

namespace {

void echo_stalled(io::tcp_stream peer, std::size_t request_bytes) {
  peer.no_delay(true);
  std::array<std::byte, 4096> buffer;
  std::size_t position = 0;
  while (const std::size_t count = peer.read_some(buffer)) {
    stall_burn(stall_count_marks(&position, request_bytes, buffer.data(), count));
    peer.write_all(std::span(buffer).first(count));
  }
}

void echo(io::tcp_stream peer) {
  peer.no_delay(true);
  while (const io::received_bytes bytes = peer.receive()) {
    peer.write_all(bytes);
  }
}

void serve(const io::endpoint& where, std::size_t request_bytes) {
  io::tcp_server server(where,
                        [=](io::tcp_stream peer) {
                          if (request_bytes == 0) {
                            echo(std::move(peer));
                          } else {
                            echo_stalled(std::move(peer), request_bytes);
                          }
                        },
                        {.on_error = [](const std::exception_ptr&) {}, .name = "echo"});
  io::signal_set signals{SIGINT, SIGTERM};
  fiber<> watch = spawn([&] {
    signals.wait();
    server.stop();
  });
  std::cout << "listening on " << server.local_endpoint().to_string() << std::endl;
  server.serve();
  server.drain(std::chrono::seconds(1));
  const statistics s = stats();
  std::cout << s.workers << " workers on " << s.driver << ": switches " << s.switches << ", steals " << s.steals << ", migrations "
            << s.migrations << ", wakes " << s.wakes << ", parks " << s.parks << ", helps " << s.helps << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  options opts;
  opts.workers = static_cast<unsigned>(echo_take_number(&argc, argv, "--workers", 1024));
  const auto request_bytes = static_cast<std::size_t>(echo_take_number(&argc, argv, "--stall", 1 << 26));
  const echo_arguments where = echo_parse_with(argc, argv, " [--workers N] [--stall BYTES]");
  try {
    echo_raise_descriptor_limit();
    run([&] { serve(io::endpoint(where.host, where.port), request_bytes); }, opts);
  } catch (const std::exception& failure) {
    std::cerr << argv[0] << ": " << failure.what() << '\n';
    return 1;
  }
}
