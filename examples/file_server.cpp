// Serves the files beneath a directory over HTTP/1.1: Boost.Beast on fibers, a fiber for each connection, files through io_uring.
//
//     file_server DIRECTORY 127.0.0.1:8080
//
// GET and HEAD. No name leads out of the directory, but a symbolic link in it may. Ctrl-C ends it: connections get a second to finish.

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <iostream>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <aramid/aramid.hpp>
#include <aramid/io/asio.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

using namespace aramid;
using namespace std::chrono_literals;
namespace http = boost::beast::http;

using connection = io::asio_stream<io::tcp_stream>;
using request = http::request<http::empty_body>;

namespace {

constexpr auto patience = 30s;  // with a client that sends no request, or does not take its answer

const char* mime_type(std::string_view path) {
  static constexpr std::array<std::pair<std::string_view, const char*>, 10> types{{
      {".html", "text/html; charset=utf-8"}, {".txt", "text/plain; charset=utf-8"}, {".css", "text/css"},
      {".js", "text/javascript"},            {".json", "application/json"},         {".svg", "image/svg+xml"},
      {".png", "image/png"},                 {".jpg", "image/jpeg"},                {".pdf", "application/pdf"},
      {".wasm", "application/wasm"},
  }};
  const auto* const found = std::ranges::find_if(types, [&](const auto& type) { return path.ends_with(type.first); });
  return found != types.end() ? found->second : "application/octet-stream";
}

/// The path that a request's target means, relative to the root; none if it is malformed or would lead out.
std::optional<std::string> path_of(std::string_view target) {
  target = target.substr(0, target.find('?'));
  if (!target.starts_with('/')) {
    return std::nullopt;
  }
  std::string path;
  for (std::size_t i = 0; i < target.size(); ++i) {
    char c = target[i];
    if (c == '%') {
      unsigned char byte = 0;
      const std::string_view digits = target.substr(i + 1, 2);
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
      if (digits.size() != 2 || end != digits.data() + 2 || error != std::errc()) {
        return std::nullopt;
      }
      c = static_cast<char>(byte);
      i += 2;
    }
    if (c == '\0') {
      return std::nullopt;
    }
    path += c;
  }
  for (const auto& part : std::filesystem::path(path)) {
    if (part == "..") {
      return std::nullopt;
    }
  }
  return path.ends_with('/') ? path + "index.html" : path;
}

http::status status_of(const std::error_code& ec) {
  if (ec == std::errc::no_such_file_or_directory || ec == std::errc::not_a_directory || ec == std::errc::filename_too_long) {
    return http::status::not_found;
  }
  return ec == std::errc::permission_denied ? http::status::forbidden : http::status::internal_server_error;
}

/// An answer without a file: its reason is its text.
void send_status(connection& client, http::status status, bool with_body, bool keep_alive) {
  http::response<http::string_body> answer(status, 11);
  answer.set(http::field::content_type, "text/plain; charset=utf-8");
  if (status == http::status::method_not_allowed) {
    answer.set(http::field::allow, "GET, HEAD");
  }
  answer.keep_alive(keep_alive);
  answer.body() = std::string(http::obsolete_reason(status)) + '\n';
  answer.prepare_payload();
  http::response_serializer<http::string_body> sending(answer);
  with_timeout(patience, [&] { with_body ? http::write(client, sending) : http::write_header(client, sending); });
}

void send_file(connection& client, io::file& file, std::uint64_t size, const char* type, bool with_body, bool keep_alive) {
  http::response<http::empty_body> answer(http::status::ok, 11);
  answer.set(http::field::content_type, type);
  answer.content_length(size);
  answer.keep_alive(keep_alive);
  http::response_serializer<http::empty_body> head(answer);
  with_timeout(patience, [&] { http::write_header(client, head); });
  std::vector<std::byte> buffer(64 * 1024);
  while (with_body && size > 0) {
    const std::size_t count = file.read_some(std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), size)));
    if (count == 0) {
      throw std::runtime_error("the file became shorter while it was sent");  // all that is left is to close
    }
    with_timeout(patience, [&] { boost::asio::write(client, boost::asio::buffer(buffer.data(), count)); });
    size -= count;
  }
}

void answer(connection& client, const request& question, const std::string& root) {
  const bool is_head = question.method() == http::verb::head;
  const auto refuse = [&](http::status status) { send_status(client, status, !is_head, question.keep_alive()); };
  if (!is_head && question.method() != http::verb::get) {
    return refuse(http::status::method_not_allowed);
  }
  const auto path = path_of({question.target().data(), question.target().size()});
  if (!path) {
    return refuse(http::status::bad_request);
  }
  std::error_code ec;
  io::file file = io::file::open(root + *path, {}, ec);
  struct stat found {};
  if (!ec && ::fstat(file.native_handle(), &found) != 0) {
    ec = std::error_code(errno, std::system_category());
  }
  if (ec) {
    return refuse(status_of(ec));
  }
  if (!S_ISREG(found.st_mode)) {
    return refuse(http::status::not_found);
  }
  send_file(client, file, static_cast<std::uint64_t>(found.st_size), mime_type(*path), !is_head, question.keep_alive());
}

void converse(io::tcp_stream peer, const std::string& root) {
  peer.no_delay(true);
  connection client(std::move(peer));
  boost::beast::flat_buffer buffer;
  for (;;) {
    http::request_parser<http::empty_body> parser;
    boost::system::error_code ec;
    if (!try_with_timeout(patience, [&] { http::read(client, buffer, parser, ec); }) || ec == http::error::end_of_stream) {
      return;
    }
    if (ec.category() == make_error_code(http::error::bad_method).category()) {
      send_status(client, http::status::bad_request, true, false);
      // What else it has sent must be read before the close, or the kernel resets the connection and our answer may be lost.
      try_with_timeout(patience, [&] { teardown(boost::beast::role_type::server, client, ec); });
      return;
    }
    if (ec) {
      throw boost::system::system_error(ec);
    }
    answer(client, parser.get(), root);
    if (!parser.get().keep_alive()) {
      return;
    }
  }
}

void serve(const std::string& root, const io::endpoint& where) {
  io::tcp_listener listener(where);
  io::signal_set stop{SIGINT, SIGTERM};
  // A connection that fails has ended its own fiber, and nobody else's.
  task_group connections(on_error::isolate, [](const std::exception_ptr&) {});
  with_task_group([&](task_group& accepting) {
    accepting.spawn([&] {
      for (;;) {
        connections.spawn(converse, listener.accept_with_backoff(), root);
      }
    });
    std::cout << "listening on " << listener.local_endpoint().to_string() << std::endl;
    stop.wait();
    accepting.cancel();
  });
  listener.close();
  try_with_timeout(1s, [&] { connections.join(); });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: file_server DIRECTORY ADDRESS:PORT\n";
    return 2;
  }
  try {
    if (!std::filesystem::is_directory(argv[1])) {
      throw std::invalid_argument(std::string(argv[1]) + " is not a directory");
    }
    run([&] { serve(argv[1], io::endpoint::parse(argv[2])); });
  } catch (const std::exception& failure) {
    std::cerr << "file_server: " << failure.what() << '\n';
    return 1;
  }
}
