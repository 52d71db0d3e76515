// What the crawler has to know of URLs and of HTML, as far as it goes: http, and the links that an attribute `href` makes.
#pragma once

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

struct address {
  std::string host;
  std::uint16_t port;
  std::string target;

  [[nodiscard]] std::string authority() const {
    const std::string name = host.find(':') != host.npos ? '[' + host + ']' : host;
    return port == 80 ? name : name + ':' + std::to_string(port);
  }
  [[nodiscard]] std::string text() const { return "http://" + authority() + target; }
};

inline std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

/// `path` without "." and ".." (RFC 3986, 5.2.4), and with what may not be in a request written as %XX.
inline std::string clean(std::string_view path, std::string_view query) {
  std::string result;
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/', 1));
    path.remove_prefix(part.size());
    if (part == "/..") {
      result.resize(result.empty() ? 0 : result.rfind('/'));
    }
    if (part != "/." && part != "/..") {
      result += part;
    } else if (path.empty()) {
      result += '/';
    }
  }
  std::ostringstream encoded;
  for (const unsigned char c : result.append(query)) {
    c > ' ' && c < 0x7f ? encoded << c : encoded << '%' << std::hex << std::uppercase << std::setw(2) << std::setfill('0') << int{c};
  }
  return encoded.str();
}

/// Throws: std::invalid_argument that quotes `text`.
inline address parse(std::string_view text) {
  const auto refuse_if = [text](bool bad, const char* why) {
    if (bad) {
      throw std::invalid_argument("'" + std::string(text) + "' " + why);
    }
  };
  const std::size_t colon = text.find("://");
  const std::string scheme = lower(text.substr(0, colon));
  refuse_if(colon == text.npos, "is no URL: it does not begin with http://");
  refuse_if(scheme == "https", "needs TLS, which this program does not have: http only");
  refuse_if(scheme != "http", "is not for this program: http only");

  std::string_view rest = text.substr(colon + 3);
  rest = rest.substr(0, rest.find('#'));
  const std::size_t authority_end = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view host = rest.substr(0, authority_end);
  refuse_if(host.find('@') != host.npos, "has a user in it, which is not for this program");
  const std::size_t bracket = host.find(']');
  const std::size_t port_colon = host.find(':', bracket != host.npos ? bracket : 0);
  std::uint16_t port = 80;
  if (port_colon != host.npos && port_colon + 1 != host.size()) {
    const auto [end, error] = std::from_chars(host.data() + port_colon + 1, host.data() + host.size(), port);
    refuse_if(end != host.data() + host.size() || error != std::errc() || port == 0, "has a port that is none");
  }
  host = host.substr(0, port_colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  refuse_if(host.empty(), "has no host");

  const std::string_view target = rest.substr(authority_end);
  const std::size_t path_end = std::min(target.find('?'), target.size());
  const std::string_view path = target.substr(0, path_end);
  return {lower(host), port, clean(path.empty() ? "/" : path, target.substr(path_end))};
}

/// Where `reference`, found in the page at `base`, leads (RFC 3986, 5.2). Throws: as `parse`.
inline address follow(const address& base, std::string_view reference) {
  reference = reference.substr(0, reference.find('#'));
  const std::string_view path = std::string_view(base.target).substr(0, base.target.find('?'));
  const std::string here = "http://" + base.authority();
  if (reference.empty()) {
    return base;
  }
  if (reference.find(':') < reference.find_first_of("/?")) {
    return parse(reference);
  }
  if (reference.starts_with("//")) {
    return parse("http:" + std::string(reference));
  }
  if (reference.starts_with('/')) {
    return parse(here + std::string(reference));
  }
  return parse(here + std::string(reference.starts_with('?') ? path : path.substr(0, path.rfind('/') + 1)) + std::string(reference));
}

/// What the attributes `href` of a page say. Not by std::regex, which recurses for each character: a fiber's stack is too small for that.
inline std::vector<std::string> links_in(std::string_view html) {
  constexpr std::string_view name = "href=";
  std::vector<std::string> links;
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  for (auto at = html.begin(); (at = std::search(at, html.end(), name.begin(), name.end(), same)) != html.end();) {
    at += name.size();
    std::string_view value = html.substr(static_cast<std::size_t>(at - html.begin()));
    const bool quoted = value.starts_with('"') || value.starts_with('\'');
    value = quoted ? value.substr(1, value.find(value[0], 1) - 1) : value.substr(0, value.find_first_of(" \t\r\n>"));
    links.emplace_back(value);
    for (std::size_t i = 0; (i = links.back().find("&amp;", i)) != std::string::npos; ++i) {
      links.back().erase(i + 1, 4);
    }
  }
  return links;
}
