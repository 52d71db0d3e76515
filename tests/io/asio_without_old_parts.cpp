// <aramid/io/asio.hpp> for somebody who has told Asio to leave its deprecated parts out.
#include <aramid/io/asio.hpp>

#include <cstddef>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

std::size_t give_back(aramid::io::asio_stream<aramid::io::tcp_stream>& stream);

std::size_t give_back(aramid::io::asio_stream<aramid::io::tcp_stream>& stream) {
  char buffer[16];
  static_cast<void>(boost::asio::any_io_executor(stream.get_executor()));
  return boost::asio::write(stream, boost::asio::buffer(buffer, boost::asio::read(stream, boost::asio::buffer(buffer))));
}
