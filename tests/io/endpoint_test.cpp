#include <aramid/io/endpoint.hpp>

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <unordered_set>

namespace {

using aramid::io::endpoint;

struct good_text {
  const char* text;
  const char* host;
  int port;
  int family;
  const char* canonical;
};

class good_endpoint : public ::testing::TestWithParam<good_text> {};

TEST_P(good_endpoint, is_parsed_and_printed) {
  const good_text& good = GetParam();
  const endpoint parsed = endpoint::parse(good.text);
  EXPECT_EQ(parsed.host(), good.host);
  EXPECT_EQ(parsed.port(), good.port);
  EXPECT_EQ(parsed.family(), good.family);
  EXPECT_EQ(parsed.to_string(), good.canonical);
  EXPECT_EQ(endpoint::parse(parsed.to_string()), parsed);
  EXPECT_EQ(endpoint(good.host, static_cast<std::uint16_t>(good.port)), parsed);

  std::error_code ec = std::make_error_code(std::errc::io_error);
  EXPECT_EQ(endpoint::parse(good.text, ec), parsed);
  EXPECT_FALSE(ec);
}

INSTANTIATE_TEST_SUITE_P(
    Endpoint, good_endpoint,
    ::testing::Values(
        good_text{"127.0.0.1:80", "127.0.0.1", 80, AF_INET, "127.0.0.1:80"},
        good_text{"0.0.0.0:0", "0.0.0.0", 0, AF_INET, "0.0.0.0:0"},
        good_text{"255.255.255.255:65535", "255.255.255.255", 65535, AF_INET,
                  "255.255.255.255:65535"},
        good_text{"10.0.0.1:00080", "10.0.0.1", 80, AF_INET, "10.0.0.1:80"},
        good_text{"[::1]:80", "::1", 80, AF_INET6, "[::1]:80"},
        good_text{"[::]:7777", "::", 7777, AF_INET6, "[::]:7777"},
        good_text{"[0:0:0:0:0:0:0:1]:1", "::1", 1, AF_INET6, "[::1]:1"},
        good_text{"[2001:DB8::A]:443", "2001:db8::a", 443, AF_INET6, "[2001:db8::a]:443"},
        good_text{"[::ffff:1.2.3.4]:5", "::ffff:1.2.3.4", 5, AF_INET6, "[::ffff:1.2.3.4]:5"},
        good_text{"[fe80::1%1]:9", "fe80::1%1", 9, AF_INET6, "[fe80::1%1]:9"}));

class bad_endpoint : public ::testing::TestWithParam<const char*> {};

TEST_P(bad_endpoint, is_refused_by_both_forms) {
  EXPECT_THROW((void)endpoint::parse(GetParam()), std::invalid_argument);
  std::error_code ec;
  EXPECT_EQ(endpoint::parse(GetParam(), ec).family(), AF_UNSPEC);
  EXPECT_EQ(ec, std::errc::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(
    Endpoint, bad_endpoint,
    ::testing::Values("", ":", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536",
                      "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1: 80", "127.0.0.1:80 ",
                      "127.0.0.1:99999999999", "127.0.0.1:0x50", "1.2.3:80", "1.2.3.4.5:80",
                      "256.0.0.1:80", "01.2.3.4:80", "::1:80", "[::1]", "[::1]80",
                      "[::1]:", "[::1:80", "[127.0.0.1]:80", "[:::1]:80", "[fe80::1%]:80",
                      "[fe80::1%0]:80", "[fe80::1%no-such-interface]:80", "127.0.0.1%1:80",
                      "localhost:80", "*:80", "example.org:80", "[gggg::1]:80"));

TEST(endpoint, error_quotes_the_text_and_says_what_is_wrong) {
  try {
    (void)endpoint::parse("127.0.0.1:65536");
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_NE(std::string(e.what()).find("\"127.0.0.1:65536\""), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("65535"), std::string::npos) << e.what();
  }
  try {
    (void)endpoint("bad\n\x01host", 1);
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_NE(std::string(e.what()).find("\"bad??host\""), std::string::npos) << e.what();
  }
}

TEST(endpoint, host_with_a_zero_byte_is_refused) {
  std::error_code ec;
  EXPECT_EQ(endpoint::make(std::string_view("127.0.0.1\0", 10), 80, ec).family(), AF_UNSPEC);
  EXPECT_EQ(ec, std::errc::invalid_argument);
}

TEST(endpoint, default_is_no_address) {
  const endpoint none;
  EXPECT_EQ(none.family(), AF_UNSPEC);
  EXPECT_EQ(none.size(), 0U);
  EXPECT_EQ(none.to_string(), "");
  EXPECT_EQ(none.with_port(5), none);
}

TEST(endpoint, compares_and_hashes_by_what_it_names) {
  const endpoint a("10.0.0.1", 80);
  const endpoint b("10.0.0.1", 80);
  EXPECT_EQ(a, b);
  EXPECT_EQ(a.hash(), b.hash());
  EXPECT_LT(a, endpoint("10.0.0.2", 1));
  EXPECT_LT(a, endpoint("10.0.0.1", 81));
  EXPECT_LT(endpoint("255.0.0.1", 80), endpoint("::1", 80));
  EXPECT_NE(endpoint("fe80::1%1", 80), endpoint("fe80::1%2", 80));
  EXPECT_EQ(a.with_port(81), endpoint("10.0.0.1", 81));

  const std::unordered_set<endpoint> set{a, b, a.with_port(81), endpoint("::1", 80)};
  EXPECT_EQ(set.size(), 3U);
}

TEST(endpoint, goes_through_the_kernels_form) {
  for (const char* text : {"127.0.0.1:80", "[fe80::1%1]:80"}) {
    const endpoint original = endpoint::parse(text);
    EXPECT_EQ(endpoint::from_native(original.data(), original.size()), original);
  }
  const endpoint v6("::1", 1);
  EXPECT_THROW((void)endpoint::from_native(v6.data(), v6.size() - 1), std::invalid_argument);
  EXPECT_THROW((void)endpoint::from_native(nullptr, 0), std::invalid_argument);
  const sockaddr other{AF_UNIX, {}};
  EXPECT_THROW((void)endpoint::from_native(&other, sizeof other), std::invalid_argument);
}

}  // namespace
