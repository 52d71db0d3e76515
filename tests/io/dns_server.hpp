// A name server on loopback, on a thread of its own, over UDP and TCP. It says what the test wants, and misbehaves as the
// test wants; and it tells what it has been asked.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/channel.hpp>
#include <aramid/io/endpoint.hpp>
#include <aramid/io/resolve.hpp>

namespace aramid::test {

enum class dns_habit {
  answers,        // with what the record has
  nxdomain,       // there is no such name
  servfail,       // I am ill
  refused,        // not you
  silent,         // never answers
  deaf_at_first,  // does not answer the first question of each type
  truncates,      // over UDP it has no room for the addresses
  lies_first,     // sends what looks like forgeries, then the answer
  garbage,        // the answer breaks off in the middle
};

struct dns_record {
  std::vector<std::string> v4 = {};
  std::vector<std::string> v6 = {};
  dns_habit habit = dns_habit::answers;
  std::string alias = {};  // of which other name, whose addresses these are
};

class dns_server {
public:
  /// A name "*.x" stands for all names of which the first part is something and the rest is "x".
  explicit dns_server(std::map<std::string, dns_record> zone) : zone_(std::move(zone)) {
    // One number for both.
    do {
      close_both();
      tcp_ = make_socket(SOCK_STREAM, 0);
      udp_ = make_socket(SOCK_DGRAM, port_of(tcp_));
    } while (udp_ < 0);
    ::listen(tcp_, 128);
    where_ = io::endpoint("127.0.0.1", port_of(tcp_));
    stop_ = ::eventfd(0, EFD_CLOEXEC);
    thread_ = std::thread([this] { serve(); });
  }

  ~dns_server() {
    const std::uint64_t one = 1;
    (void)!::write(stop_, &one, sizeof one);
    thread_.join();
    close_both();
    ::close(stop_);
  }

  dns_server(const dns_server&) = delete;
  dns_server& operator=(const dns_server&) = delete;

  [[nodiscard]] const io::endpoint& where() const { return where_; }

  /// To ask this server, once, and wait for its answer for as long as a test may run.
  [[nodiscard]] io::resolve_options patient() const {
    return {.nameservers = {where_}, .timeout = std::chrono::hours(1), .tries = 1};
  }

  /// To ask it several times, and soon again.
  [[nodiscard]] io::resolve_options hasty() const {
    return {.nameservers = {where_}, .timeout = std::chrono::milliseconds(5), .tries = 12};
  }

  /// Waits for the next question: "A good.test", "AAAA good.test"; with "tcp " in front if it came that way.
  [[nodiscard]] std::string asked() { return asked_.receive().value(); }

  /// All of them, so far.
  [[nodiscard]] std::vector<std::string> all_asked() const {
    const std::lock_guard guard(lock_);
    return log_;
  }

private:
  static constexpr std::uint16_t type_a = 1;
  static constexpr std::uint16_t type_cname = 5;
  static constexpr std::uint16_t type_aaaa = 28;

  struct question {
    std::string name;
    std::uint16_t type = 0;
    std::string bytes;  // as it was put
  };

  static int make_socket(int type, std::uint16_t port) {
    const int fd = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
    const io::endpoint where("127.0.0.1", port);
    if (fd >= 0 && ::bind(fd, where.data(), where.size()) == 0) {
      return fd;
    }
    ::close(fd);
    if (type == SOCK_DGRAM && errno == EADDRINUSE) {
      return -1;
    }
    throw std::system_error(errno, std::system_category(), "dns_server");
  }

  static std::uint16_t port_of(int fd) {
    sockaddr_in name{};
    socklen_t size = sizeof name;
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size);
    return ntohs(name.sin_port);
  }

  void close_both() {
    for (int* const fd : {&udp_, &tcp_}) {
      if (*fd >= 0) {
        ::close(std::exchange(*fd, -1));
      }
    }
  }

  void serve() {
    std::vector<pollfd> watched{{stop_, POLLIN, 0}, {udp_, POLLIN, 0}, {tcp_, POLLIN, 0}};
    for (;;) {
      ::poll(watched.data(), watched.size(), -1);
      if (watched[0].revents != 0) {
        break;
      }
      if (watched[1].revents != 0) {
        answer_datagram();
      }
      for (std::size_t i = 3; i < watched.size(); ++i) {
        if (watched[i].revents != 0 && !answer_stream(watched[i].fd)) {
          ::close(std::exchange(watched[i].fd, -1));
        }
      }
      std::erase_if(watched, [](const pollfd& each) { return each.fd < 0; });
      if (watched[2].revents != 0) {
        watched.push_back({::accept4(tcp_, nullptr, nullptr, SOCK_CLOEXEC), POLLIN, 0});
      }
    }
    for (std::size_t i = 3; i < watched.size(); ++i) {
      ::close(watched[i].fd);
    }
  }

  void answer_datagram() {
    std::array<char, 1024> buffer;
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    const ssize_t count =
        ::recvfrom(udp_, buffer.data(), buffer.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&peer), &size);
    if (count < 12) {
      return;
    }
    for (const std::string& each : answers_to(std::string(buffer.data(), static_cast<std::size_t>(count)), false)) {
      ::sendto(udp_, each.data(), each.size(), 0, reinterpret_cast<const sockaddr*>(&peer), size);
    }
  }

  bool answer_stream(int fd) {
    std::array<unsigned char, 2> head;
    if (::recv(fd, head.data(), head.size(), MSG_WAITALL) != 2) {
      return false;
    }
    std::string request(static_cast<std::size_t>(head[0] << 8 | head[1]), '\0');
    if (::recv(fd, request.data(), request.size(), MSG_WAITALL) != static_cast<ssize_t>(request.size())) {
      return false;
    }
    for (const std::string& each : answers_to(request, true)) {
      std::string framed = u16(each.size());
      framed += each;
      ::send(fd, framed.data(), framed.size(), MSG_NOSIGNAL);
    }
    return true;
  }

  std::vector<std::string> answers_to(const std::string& request, bool over_tcp) {
    const question asked = read(request);
    const std::string line = std::string(over_tcp ? "tcp " : "") + (asked.type == type_a ? "A " : "AAAA ") + asked.name;
    bool is_first = true;
    {
      const std::lock_guard guard(lock_);
      for (const std::string& each : log_) {
        is_first = is_first && each != line;
      }
      log_.push_back(line);
    }
    (void)asked_.try_send(std::string(line));

    const std::optional<dns_record> record = find(asked.name);
    const std::string id = request.substr(0, 2);
    if (!record) {
      return {reply(id, asked, 3, "", 0)};
    }
    const auto [rows, count] = rows_for(asked, *record);
    const std::string good = reply(id, asked, 0, rows, count);
    switch (record->habit) {
      case dns_habit::nxdomain:
        return {reply(id, asked, 3, "", 0)};
      case dns_habit::servfail:
        return {reply(id, asked, 2, "", 0)};
      case dns_habit::refused:
        return {reply(id, asked, 5, "", 0)};
      case dns_habit::silent:
        return {};
      case dns_habit::deaf_at_first:
        return is_first ? std::vector<std::string>() : std::vector{good};
      case dns_habit::truncates:
        return {over_tcp ? good : reply(id, asked, 0x0200, "", 0)};
      case dns_habit::lies_first: {
        const std::string other_id{static_cast<char>(id[0] ^ 1), id[1]};
        question other = asked;
        other.bytes[1] = static_cast<char>(other.bytes[1] ^ 1);
        const dns_record wrong{.v4 = {"127.9.9.9"}, .v6 = {"::9"}};
        const auto [wrong_rows, wrong_count] = rows_for(asked, wrong);
        return {id, reply(other_id, asked, 0, wrong_rows, wrong_count), reply(id, other, 0, wrong_rows, wrong_count),
                good};
      }
      case dns_habit::garbage:
        return {good.substr(0, good.size() - 3)};
      case dns_habit::answers:
        break;
    }
    return {good};
  }

  [[nodiscard]] std::optional<dns_record> find(const std::string& name) const {
    if (const auto exact = zone_.find(name); exact != zone_.end()) {
      return exact->second;
    }
    if (const auto wild = zone_.find("*" + name.substr(std::min(name.find('.'), name.size()))); wild != zone_.end()) {
      return wild->second;
    }
    return std::nullopt;
  }

  static std::string u16(std::size_t number) {
    return {static_cast<char>(number >> 8 & 0xff), static_cast<char>(number & 0xff)};
  }

  static std::string encoded(const std::string& name) {
    std::string result;
    for (std::size_t from = 0; from < name.size();) {
      const std::size_t dot = std::min(name.find('.', from), name.size());
      result += static_cast<char>(dot - from);
      result += name.substr(from, dot - from);
      from = dot + 1;
    }
    return result += '\0';
  }

  static question read(const std::string& request) {
    question result;
    std::size_t at = 12;
    while (at < request.size() && request[at] != 0) {
      const auto length = static_cast<std::size_t>(static_cast<unsigned char>(request[at]));
      result.name.append(result.name.empty() ? "" : ".").append(request, at + 1, length);
      at += length + 1;
    }
    result.bytes = request.substr(12, at + 5 - 12);
    result.type = static_cast<std::uint16_t>(static_cast<unsigned char>(request.at(at + 2)));
    return result;
  }

  static std::string row(const std::string& name, std::uint16_t type, const std::string& value) {
    return encoded(name) + u16(type) + u16(1) + u16(0) + u16(60) + u16(value.size()) + value;
  }

  static std::pair<std::string, std::size_t> rows_for(const question& asked, const dns_record& record) {
    std::string rows;
    std::size_t count = 0;
    std::string owner = asked.name;
    if (!record.alias.empty()) {
      rows += row(owner, type_cname, encoded(record.alias));
      owner = record.alias;
      ++count;
    }
    for (const std::string& each : asked.type == type_a ? record.v4 : record.v6) {
      std::string value(asked.type == type_a ? 4 : 16, '\0');
      ::inet_pton(asked.type == type_a ? AF_INET : AF_INET6, each.c_str(), value.data());
      rows += row(owner, asked.type, value);
      ++count;
    }
    return {rows, count};
  }

  static std::string reply(const std::string& id, const question& asked, unsigned flags, const std::string& rows,
                           std::size_t count) {
    return id + u16(0x8180 | flags) + u16(1) + u16(count) + u16(0) + u16(0) + asked.bytes + rows;
  }

  const std::map<std::string, dns_record> zone_;
  int udp_ = -1;
  int tcp_ = -1;
  int stop_ = -1;
  io::endpoint where_;
  channel<std::string> asked_{10'000};
  mutable std::mutex lock_;
  std::vector<std::string> log_;  // under lock_
  std::thread thread_;
};

/// A port of UDP that nobody else can get and where nobody is: who sends to it is told so.
class dead_port {
public:
  dead_port() {
    // Bound, and connected: what comes from elsewhere is not for it.
    const io::endpoint any("127.0.0.1", 0);
    const io::endpoint other("127.0.0.1", 9);
    ::bind(fd_, any.data(), any.size());
    ::connect(fd_, other.data(), other.size());
  }
  ~dead_port() { ::close(fd_); }

  dead_port(const dead_port&) = delete;
  dead_port& operator=(const dead_port&) = delete;

  [[nodiscard]] io::endpoint where() const {
    sockaddr_in name{};
    socklen_t size = sizeof name;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&name), &size);
    return io::endpoint::from_native(reinterpret_cast<const sockaddr*>(&name), size);
  }

private:
  int fd_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
};

}  // namespace aramid::test
