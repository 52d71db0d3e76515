// Fetches a page with Boost.Beast, whose synchronous functions run on fibers as they are.
//
//     http_get localhost 8080 /index.html     prints the body; exits with 1 unless it is a success

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>

#include <aramid/aramid.hpp>
#include <aramid/io/asio.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

using namespace aramid;
using namespace std::chrono_literals;
namespace http = boost::beast::http;

namespace {

std::string get(const std::string& host, std::uint16_t port, const std::string& target) {
  io::asio_stream stream(io::connect(host, port));

  http::request<http::empty_body> request(http::verb::get, target, 11);
  request.set(http::field::host, host + ':' + std::to_string(port));
  request.keep_alive(false);
  http::write(stream, request);

  boost::beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(std::uint64_t{1} << 30);
  http::read(stream, buffer, parser);

  auto response = parser.release();
  if (http::to_status_class(response.result()) != http::status_class::successful) {
    throw std::runtime_error(target + ": " + std::to_string(response.result_int()) + ' ' + std::string(response.reason()));
  }
  return std::move(response.body());
}

}  // namespace

int main(int argc, char** argv) {
  int port = 0;
  if (argc != 4 || (port = std::atoi(argv[2])) <= 0 || port > 65535) {
    std::cerr << "usage: http_get HOST PORT TARGET\n";
    return 2;
  }
  try {
    std::cout << run([&] { return with_timeout(30s, [&] { return get(argv[1], static_cast<std::uint16_t>(port), argv[3]); }); });
  } catch (const std::exception& failure) {
    std::cerr << "http_get: " << failure.what() << '\n';
    return 1;
  }
}
