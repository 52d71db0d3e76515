// A program of somebody who uses aramid::asio: a line goes from one fiber to another through Asio's own functions.
#include <cstdio>
#include <string>

#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>

#include <aramid/aramid.hpp>
#include <aramid/io/asio.hpp>

using namespace aramid;

int main() {
  const std::string line = run([] {
    io::tcp_listener listener(io::endpoint("127.0.0.1", 0));
    auto writer = spawn([where = listener.local_endpoint()] {
      io::asio_stream stream(io::connect(where));
      boost::asio::write(stream, boost::asio::buffer("hello, Asio\n", 12));
    });
    io::asio_stream stream(listener.accept());
    std::string text;
    boost::asio::read_until(stream, boost::asio::dynamic_buffer(text), '\n');
    return text;
  });
  std::printf("%s", line.c_str());
  return line == "hello, Asio\n" ? 0 : 1;
}
