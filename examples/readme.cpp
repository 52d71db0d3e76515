#include <aramid/aramid.hpp>

#include <chrono>
#include <iostream>
#include <string>

using namespace aramid;
using namespace std::chrono_literals;

void echo(io::tcp_stream peer) {                       // a fiber for each connection
  char buffer[4096];
  while (std::size_t count = peer.read_some(buffer)) {  // only this fiber waits
    peer.write_all(std::string_view(buffer, count));
  }
}

int main() {
  run([] {
    io::tcp_listener listener(io::endpoint("127.0.0.1", 0));
    task_group connections(on_error::isolate);  // one peer's failure is nobody else's
    auto acceptor = spawn([&] {
      for (;;) {
        connections.spawn(echo, listener.accept());
      }
    });

    io::tcp_stream client = io::connect(listener.local_endpoint());
    client.write_all("hello, fibers");
    std::string answer(13, '\0');
    with_timeout(1s, [&] { client.read_exactly(answer); });  // throws timeout_error
    std::cout << answer << '\n';
  });  // what is still running has been cancelled and joined: the acceptor, the connection
}
