// Where a socket is: an address and a port, both numeric.
//
//     endpoint here("127.0.0.1", 7777);
//     endpoint there = endpoint::parse("[::1]:7777");
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::io {

/// An IPv4 or IPv6 address with a port. A value: copied, compared, hashed. Never suspends.
class ARAMID_API endpoint {
public:
  /// No address: `family()` is AF_UNSPEC. For what is filled in later.
  endpoint() noexcept : address_{} {}

  /// From a numeric host ("127.0.0.1", "::1", "fe80::1%eth0", without brackets) and a port.
  /// Throws: std::invalid_argument that quotes the host.
  endpoint(std::string_view host, std::uint16_t port);

  /// As the constructor. Returns: no address, and `ec` == std::errc::invalid_argument, if `host` is
  /// not numeric.
  [[nodiscard]] static endpoint make(std::string_view host, std::uint16_t port,
                                     std::error_code& ec) noexcept;

  /// From "127.0.0.1:80" or "[::1]:80": the port is part of it.
  /// Throws: std::invalid_argument that quotes the text and says what is wrong with it.
  [[nodiscard]] static endpoint parse(std::string_view text);

  /// As `parse`. Returns: no address, and `ec` == std::errc::invalid_argument, if that is not what
  /// `text` is.
  [[nodiscard]] static endpoint parse(std::string_view text, std::error_code& ec) noexcept;

  /// From what the kernel gave.
  /// Throws: std::invalid_argument if it is neither IPv4 nor IPv6, or cut short.
  [[nodiscard]] static endpoint from_native(const sockaddr* address, socklen_t size);

  /// AF_INET, AF_INET6 or AF_UNSPEC.
  [[nodiscard]] int family() const noexcept { return address_.any.sa_family; }

  [[nodiscard]] std::uint16_t port() const noexcept;

  /// This address with another port.
  [[nodiscard]] endpoint with_port(std::uint16_t port) const noexcept;

  /// The address alone, as the constructor takes it; "" if there is none.
  [[nodiscard]] std::string host() const;

  /// As `parse` takes it; "" if there is no address.
  [[nodiscard]] std::string to_string() const;

  /// For bind(2), connect(2) and their like.
  [[nodiscard]] const sockaddr* data() const noexcept { return &address_.any; }
  [[nodiscard]] socklen_t size() const noexcept;

  friend bool operator==(const endpoint& a, const endpoint& b) noexcept { return (a <=> b) == 0; }

  /// By family, address, port, scope.
  friend std::strong_ordering operator<=>(const endpoint& a, const endpoint& b) noexcept {
    return compare(a, b);
  }

  [[nodiscard]] std::size_t hash() const noexcept;

private:
  static std::strong_ordering compare(const endpoint& a, const endpoint& b) noexcept;

  union storage {
    sockaddr_in6 v6;  // the largest first, so that {} clears all
    sockaddr_in v4;
    sockaddr any;
  };
  storage address_;
};

}  // namespace aramid::inline v0::io

template <>
struct std::hash<aramid::io::endpoint> {
  std::size_t operator()(const aramid::io::endpoint& value) const noexcept { return value.hash(); }
};
