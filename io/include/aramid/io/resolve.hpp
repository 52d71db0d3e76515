// Names to addresses.
//
//     for (const endpoint& where : resolve("example.com", "https")) { … }
//     tcp_stream stream = connect("example.com", 443);     // io/tcp.hpp: resolves, and tries them all
//
// A lookup is made by the fiber that asks, through c-ares: no thread is needed or blocked, no pool is
// shared, so a thousand names whose servers never answer do not delay the one beside them, and a
// lookup that is cancelled is over at once. While it waits it has two descriptors and some 80 KiB.
//
// What is asked: /etc/hosts and the name servers of /etc/resolv.conf, in the order that the line
// `hosts:` of /etc/nsswitch.conf gives to `files` and `dns`; with the search list, `ndots` and
// `rotate` of resolv.conf, and the environment's LOCALDOMAIN, RES_OPTIONS and HOSTALIASES. That is what
// getaddrinfo(3) asks on most machines. Other modules of nsswitch.conf (mdns, myhostname, ldap, …)
// are not asked: where they matter, `blocking([&] { return ::getaddrinfo(…); })` asks them, on a thread.
// Resolv.conf's `timeout` and `attempts` do not count; `resolve_options` has them.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

#include <aramid/detail/config.hpp>
#include <aramid/io/endpoint.hpp>

namespace aramid::inline v0::io {

/// Why a name has no address.
enum class resolve_errc {
  host_not_found = 1,  ///< there is no such name
  /// The name exists, but has no address, or none of the family that was asked for.
  no_data = 2,
  /// No name server could be reached and gave an answer that says yes or no; later one may.
  server_failure = 3,
  timed_out = 4,  ///< no name server answered in time; compares equal to std::errc::timed_out
  /// Nothing to look up: it is empty, too long, has an empty or too long part, a character that is
  /// in no host name (a zero byte, a space, a colon, …), or looks like an IPv4 address and is none.
  /// Compares equal to std::errc::invalid_argument, as the next.
  bad_name = 5,
  bad_service = 6,  ///< neither a port nor the name of a service that this machine knows
};

/// "aramid.resolve".
[[nodiscard]] ARAMID_API const std::error_category& resolve_category() noexcept;

[[nodiscard]] inline std::error_code make_error_code(resolve_errc code) noexcept {
  return {static_cast<int>(code), resolve_category()};
}

struct resolve_options {
  /// AF_INET or AF_INET6 for addresses of that family only; AF_UNSPEC for both.
  int family = AF_UNSPEC;
  /// The name servers to ask instead of resolv.conf's. Port 0 is port 53. No scopes.
  std::vector<endpoint> nameservers = {};
  /// How long a name server has for its answer the first time; each time they are all asked again it
  /// is twice as much.
  std::chrono::nanoseconds timeout = std::chrono::seconds(5);
  /// How often they are asked. So with one server that never answers, 15 seconds in all.
  int tries = 2;
};

/// Looks `host` up, a name or a numeric address as `endpoint` takes it ("::1", "fe80::1%eth0", no
/// brackets), for which nobody is asked.
/// A name is looked up as it is: one that is not ASCII is not encoded (IDNA is the caller's). With a
/// dot at its end the search list does not apply to it.
/// Suspends: until there is an answer from a name server; not for what is numeric or in /etc/hosts, which is read in place.
/// Cancels:  throws aramid::cancelled; nothing of the lookup is left.
/// Returns:  at least one endpoint, each once, the one to try first in front: ordered by RFC 6724, which
///           asks the kernel for the way to each (an address without one comes last), and on a par as the
///           name server gave them. What /etc/hosts says is ordered in the same way. When there is no answer
///           for one family, the addresses of the other.
/// Throws:   std::system_error that names the host, with a resolve_errc or, if descriptors or
///           memory run out, what the kernel said; std::invalid_argument if an option makes no sense;
///           std::logic_error if the caller belongs to no runtime.
/// Threads:  any that belongs to a runtime: a fiber, or a thread that has entered one.
[[nodiscard]] ARAMID_API std::vector<endpoint> resolve(std::string_view host, std::uint16_t port,
                                                       const resolve_options& options = {});
[[nodiscard]] ARAMID_API std::vector<endpoint> resolve(std::string_view host, std::uint16_t port,
                                                       const resolve_options& options,
                                                       std::error_code& ec);
[[nodiscard]] inline std::vector<endpoint> resolve(std::string_view host, std::uint16_t port,
                                                   std::error_code& ec) {
  return resolve(host, port, resolve_options(), ec);
}

/// As above, with a service instead of the port: "443", or a name of /etc/services such as "https"
/// (that of TCP, if others have a port of that name too).
[[nodiscard]] ARAMID_API std::vector<endpoint> resolve(std::string_view host,
                                                       std::string_view service,
                                                       const resolve_options& options = {});
[[nodiscard]] ARAMID_API std::vector<endpoint> resolve(std::string_view host,
                                                       std::string_view service,
                                                       const resolve_options& options,
                                                       std::error_code& ec);
[[nodiscard]] inline std::vector<endpoint> resolve(std::string_view host, std::string_view service,
                                                   std::error_code& ec) {
  return resolve(host, service, resolve_options(), ec);
}

}  // namespace aramid::inline v0::io

template <>
struct std::is_error_code_enum<aramid::io::resolve_errc> : std::true_type {};
