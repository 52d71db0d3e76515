#include <aramid/io/endpoint.hpp>

#include <arpa/inet.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <stdexcept>
#include <string>

#include "quoted.hpp"

namespace aramid::inline v0::io {

using detail::quoted;

namespace {

// A longer text than this is no numeric address: 45 for the address, a scope name behind it.
constexpr std::size_t longest_host = INET6_ADDRSTRLEN + IF_NAMESIZE;

bool parse_number(std::string_view text, std::uint32_t limit, std::uint32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty() &&
         value <= limit;
}

bool parse_scope(std::string_view text, std::uint32_t& scope) {
  if (parse_number(text, ~std::uint32_t{0}, scope)) {
    return scope != 0;
  }
  std::array<char, IF_NAMESIZE> name{};
  if (text.empty() || text.size() >= name.size()) {
    return false;
  }
  std::copy(text.begin(), text.end(), name.begin());
  scope = ::if_nametoindex(name.data());
  return scope != 0;
}

bool parse_host(std::string_view host, std::uint16_t port, sockaddr_in& v4, sockaddr_in6& v6) {
  if (host.empty() || host.size() >= longest_host || host.find('\0') != host.npos) {
    return false;
  }
  std::uint32_t scope = 0;
  std::string_view address = host;
  if (const auto percent = host.find('%'); percent != host.npos) {
    if (!parse_scope(host.substr(percent + 1), scope)) {
      return false;
    }
    address = host.substr(0, percent);
  }
  std::array<char, longest_host> text{};
  std::copy(address.begin(), address.end(), text.begin());
  if (scope == 0 && ::inet_pton(AF_INET, text.data(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    return true;
  }
  if (::inet_pton(AF_INET6, text.data(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    v6.sin6_scope_id = scope;
    return true;
  }
  return false;
}

struct host_and_port {
  std::string_view host;
  std::uint16_t port = 0;
  const char* wrong = nullptr;
};

host_and_port split(std::string_view text) {
  const bool bracketed = text.starts_with('[');
  const auto colon = bracketed ? text.find("]:") : text.rfind(':');
  if (colon == text.npos) {
    return {.host = {}, .wrong = "there is no port; write 127.0.0.1:80 or [::1]:80"};
  }
  const std::string_view host = bracketed ? text.substr(1, colon - 1) : text.substr(0, colon);
  if (!bracketed && host.find(':') != host.npos) {
    return {.host = {}, .wrong = "an IPv6 address goes in brackets: [::1]:80"};
  }
  if (bracketed && host.find(':') == host.npos) {
    return {.host = {}, .wrong = "only an IPv6 address goes in brackets"};
  }
  std::uint32_t port = 0;
  if (!parse_number(text.substr(colon + (bracketed ? 2 : 1)), 65535, port)) {
    return {.host = {}, .wrong = "the port is not a number from 0 to 65535"};
  }
  return {.host = host, .port = static_cast<std::uint16_t>(port)};
}

constexpr const char* not_numeric = "not a numeric IPv4 or IPv6 address";

}  // namespace

endpoint::endpoint(std::string_view host, std::uint16_t port) {
  std::error_code ec;
  *this = make(host, port, ec);
  if (ec) {
    throw std::invalid_argument("endpoint: " + quoted(host) + " is " + not_numeric);
  }
}

endpoint endpoint::make(std::string_view host, std::uint16_t port, std::error_code& ec) noexcept {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  endpoint result;
  ec.clear();
  if (!parse_host(host, port, v4, v6)) {
    ec = std::make_error_code(std::errc::invalid_argument);
  } else if (v4.sin_family == AF_INET) {
    result.address_.v4 = v4;
  } else {
    result.address_.v6 = v6;
  }
  return result;
}

endpoint endpoint::parse(std::string_view text, std::error_code& ec) noexcept {
  const host_and_port parts = split(text);
  if (parts.wrong != nullptr) {
    ec = std::make_error_code(std::errc::invalid_argument);
    return {};
  }
  return make(parts.host, parts.port, ec);
}

endpoint endpoint::parse(std::string_view text) {
  const host_and_port parts = split(text);
  if (parts.wrong != nullptr) {
    throw std::invalid_argument("endpoint: " + quoted(text) + ": " + parts.wrong);
  }
  return endpoint(parts.host, parts.port);
}

endpoint endpoint::from_native(const sockaddr* address, socklen_t size) {
  endpoint result;
  if (address != nullptr && size >= sizeof(sockaddr_in) && address->sa_family == AF_INET) {
    std::memcpy(&result.address_.v4, address, sizeof(sockaddr_in));
    std::memset(result.address_.v4.sin_zero, 0, sizeof result.address_.v4.sin_zero);
  } else if (address != nullptr && size >= sizeof(sockaddr_in6) && address->sa_family == AF_INET6) {
    std::memcpy(&result.address_.v6, address, sizeof(sockaddr_in6));
  } else {
    throw std::invalid_argument("endpoint: neither an IPv4 nor an IPv6 address");
  }
  return result;
}

std::uint16_t endpoint::port() const noexcept {
  switch (family()) {
    case AF_INET:
      return ntohs(address_.v4.sin_port);
    case AF_INET6:
      return ntohs(address_.v6.sin6_port);
    default:
      return 0;
  }
}

endpoint endpoint::with_port(std::uint16_t port) const noexcept {
  endpoint result = *this;
  if (family() == AF_INET) {
    result.address_.v4.sin_port = htons(port);
  } else if (family() == AF_INET6) {
    result.address_.v6.sin6_port = htons(port);
  }
  return result;
}

std::string endpoint::host() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (family() == AF_INET) {
    ::inet_ntop(AF_INET, &address_.v4.sin_addr, text.data(), text.size());
  } else if (family() == AF_INET6) {
    ::inet_ntop(AF_INET6, &address_.v6.sin6_addr, text.data(), text.size());
  }
  std::string result = text.data();
  if (family() == AF_INET6 && address_.v6.sin6_scope_id != 0) {
    result += '%' + std::to_string(address_.v6.sin6_scope_id);
  }
  return result;
}

std::string endpoint::to_string() const {
  switch (family()) {
    case AF_INET:
      return host() + ':' + std::to_string(port());
    case AF_INET6:
      return '[' + host() + "]:" + std::to_string(port());
    default:
      return {};
  }
}

socklen_t endpoint::size() const noexcept {
  switch (family()) {
    case AF_INET:
      return sizeof(sockaddr_in);
    case AF_INET6:
      return sizeof(sockaddr_in6);
    default:
      return 0;
  }
}

std::strong_ordering endpoint::compare(const endpoint& a, const endpoint& b) noexcept {
  if (const auto order = a.family() <=> b.family(); order != 0) {
    return order;
  }
  int bytes = 0;
  if (a.family() == AF_INET) {
    bytes = std::memcmp(&a.address_.v4.sin_addr, &b.address_.v4.sin_addr, sizeof(in_addr));
  } else if (a.family() == AF_INET6) {
    bytes = std::memcmp(&a.address_.v6.sin6_addr, &b.address_.v6.sin6_addr, sizeof(in6_addr));
  }
  if (bytes != 0) {
    return bytes <=> 0;
  }
  if (const auto order = a.port() <=> b.port(); order != 0 || a.family() != AF_INET6) {
    return order;
  }
  return a.address_.v6.sin6_scope_id <=> b.address_.v6.sin6_scope_id;
}

std::size_t endpoint::hash() const noexcept {
  // What `compare` looks at, and no padding.
  std::size_t value =
      std::hash<std::uint32_t>()(static_cast<std::uint32_t>(family()) << 16 | port());
  const auto mix = [&value](std::string_view bytes) {
    value ^=
        std::hash<std::string_view>()(bytes) + 0x9e3779b97f4a7c15 + (value << 6) + (value >> 2);
  };
  if (family() == AF_INET) {
    mix({reinterpret_cast<const char*>(&address_.v4.sin_addr), sizeof(in_addr)});
  } else if (family() == AF_INET6) {
    mix({reinterpret_cast<const char*>(&address_.v6.sin6_addr), sizeof(in6_addr)});
  }
  return value;
}

}  // namespace aramid::inline v0::io
