// resolve: what can be said without asking anybody, the errors, and the public forms. The asking is name_lookup.hpp's.
#include <aramid/io/resolve.hpp>

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include <aramid/detail/immortal.hpp>
#include <aramid/detail/runtime_ref.hpp>
#include <aramid/driver.hpp>

#include "calls.hpp"
#include "name_lookup.hpp"
#include "quoted.hpp"

namespace aramid::inline v0::io {
namespace {

using detail::coded;
using detail::quoted;
using detail::runtime_ref;

class resolve_category_type final : public std::error_category {
public:
  [[nodiscard]] const char* name() const noexcept override { return "aramid.resolve"; }

  [[nodiscard]] std::string message(int code) const override {
    switch (static_cast<resolve_errc>(code)) {
      case resolve_errc::host_not_found:
        return "there is no host of that name";
      case resolve_errc::no_data:
        return "the name has no address of the kind that was asked for";
      case resolve_errc::server_failure:
        return "no name server gave an answer that can be used";
      case resolve_errc::timed_out:
        return "no name server answered in time";
      case resolve_errc::bad_name:
        return "neither the name of a host nor a numeric address";
      case resolve_errc::bad_service:
        return "neither a port nor the name of a known service";
    }
    return "unknown error " + std::to_string(code);
  }

  [[nodiscard]] std::error_condition default_error_condition(int code) const noexcept override {
    switch (static_cast<resolve_errc>(code)) {
      case resolve_errc::timed_out:
        return std::make_error_condition(std::errc::timed_out);
      case resolve_errc::bad_name:
      case resolve_errc::bad_service:
        return std::make_error_condition(std::errc::invalid_argument);
      default:
        return {code, *this};
    }
  }
};

void check(const resolve_options& options) {
  if (options.family != AF_UNSPEC && options.family != AF_INET && options.family != AF_INET6) {
    throw std::invalid_argument("resolve: the family is none of AF_UNSPEC, AF_INET, AF_INET6");
  }
  if (options.timeout <= std::chrono::nanoseconds::zero() || options.tries <= 0) {
    throw std::invalid_argument("resolve: timeout and tries must be more than zero");
  }
  for (const endpoint& server : options.nameservers) {
    if (server.family() == AF_UNSPEC) {
      throw std::invalid_argument("resolve: a name server without an address");
    }
  }
}

/// Whether `text` can be the name of a host. What looks like a numeric address and is none must not be asked for in
/// DNS: the answer would come late and not say what is wrong, or some search domain would give one.
bool may_be_a_name(std::string_view text) noexcept {
  // 253 characters are what a question has room for (RFC 1035, 2.3.4), without the dot at the end.
  const std::size_t length = text.size() - (text.ends_with('.') ? 1 : 0);
  if (length == 0 || length > 253) {
    return false;
  }
  if (text.find('.') != text.npos && text.find_first_not_of("0123456789.") == text.npos) {
    return false;
  }
  return std::all_of(text.begin(), text.end(), [](char c) {
    // The backslash would be an escape to c-ares.
    return static_cast<unsigned char>(c) > ' ' && c != 127 && std::string_view("%/:[\\]").find(c) == std::string_view::npos;
  });
}

/// Cuts the first word off `text`. Returns: none, if there is none.
std::string_view next_word(std::string_view& text) {
  constexpr const char* blanks = " \t\r";
  text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
  const std::string_view word = text.substr(0, text.find_first_of(blanks));
  text.remove_prefix(word.size());
  return word;
}

/// Not getservbyname_r: it may ask a directory over the network, and block this worker (man nsswitch.conf). A line is a name, port/protocol, and
/// other names (man 5 services).
/// Returns: the port, of those of several protocols TCP's; or 0 if there is no such service.
std::uint16_t look_up_service(std::string_view name) {
  std::ifstream services("/etc/services");
  std::uint16_t found = 0;
  for (std::string line; std::getline(services, line);) {
    std::string_view rest = std::string_view(line).substr(0, line.find('#'));
    std::string_view word = next_word(rest);
    const std::string_view port_and_protocol = next_word(rest);
    while (!word.empty() && word != name) {
      word = next_word(rest);
    }
    const std::size_t slash = port_and_protocol.find('/');
    std::uint16_t port = 0;
    if (word.empty() || slash == port_and_protocol.npos ||
        std::from_chars(port_and_protocol.data(), port_and_protocol.data() + slash, port).ec != std::errc()) {
      continue;
    }
    if (port_and_protocol.substr(slash) == "/tcp") {
      return port;
    }
    found = found != 0 ? found : port;
  }
  return found;
}

std::uint16_t port_of(std::string_view service, std::error_code& ec) {
  std::uint16_t port = 0;
  const char* const end = service.data() + service.size();
  if (const auto [last, error] = std::from_chars(service.data(), end, port); error == std::errc() && last == end) {
    return port;
  }
  if (service.empty() || service.size() > 255 || service.find('\0') != service.npos) {
    ec = resolve_errc::bad_service;
    return 0;
  }
  port = look_up_service(service);
  if (port == 0) {
    ec = resolve_errc::bad_service;
  }
  return port;
}

std::vector<endpoint> numeric(const endpoint& where, const resolve_options& options, std::error_code& ec) {
  detail::count_ready();
  if (options.family != AF_UNSPEC && options.family != where.family()) {
    ec = resolve_errc::no_data;
    return {};
  }
  return {where};
}

std::vector<endpoint> resolve_name(std::string_view host, std::uint16_t port, const resolve_options& options,
                                   std::error_code& ec) {
  std::error_code not_numeric;
  if (const endpoint where = endpoint::make(host, port, not_numeric); !not_numeric) {
    return numeric(where, options, ec);
  }
  if (!may_be_a_name(host)) {
    ec = resolve_errc::bad_name;
    return {};
  }
  std::vector<endpoint> found = detail::look_up(std::string(host), options, runtime_ref::current(), ec);
  for (endpoint& each : found) {
    each = each.with_port(port);
  }
  return found;
}

/// What comes before every lookup. A thread without a runtime is told so whatever it asks for, not only where it has to wait.
void begin(const resolve_options& options) {
  enter_wait();
  check(options);
  if (const runtime_ref home = runtime_ref::current(); !home) {
    home.call("resolve", [] {});
  }
}

std::vector<endpoint> resolve_service(std::string_view host, std::string_view service, const resolve_options& options,
                                      std::error_code& ec) {
  begin(options);
  const std::uint16_t port = port_of(service, ec);
  return ec ? std::vector<endpoint>() : resolve_name(host, port, options, ec);
}

}  // namespace

const std::error_category& resolve_category() noexcept { return detail::immortal<resolve_category_type>(); }

std::vector<endpoint> resolve(std::string_view host, std::uint16_t port, const resolve_options& options) {
  std::error_code ec;
  begin(options);
  std::vector<endpoint> found = resolve_name(host, port, options, ec);
  if (ec) {
    throw std::system_error(ec, "resolve " + quoted(host));
  }
  return found;
}

std::vector<endpoint> resolve(std::string_view host, std::uint16_t port, const resolve_options& options,
                              std::error_code& ec) {
  return coded(ec, [&] {
    begin(options);
    return resolve_name(host, port, options, ec);
  });
}

std::vector<endpoint> resolve(std::string_view host, std::string_view service, const resolve_options& options) {
  std::error_code ec;
  std::vector<endpoint> found = resolve_service(host, service, options, ec);
  if (ec) {
    throw std::system_error(ec, "resolve " + quoted(host) + ", service " + quoted(service));
  }
  return found;
}

std::vector<endpoint> resolve(std::string_view host, std::string_view service, const resolve_options& options,
                              std::error_code& ec) {
  return coded(ec, [&] { return resolve_service(host, service, options, ec); });
}

}  // namespace aramid::inline v0::io
