// Writes of more bytes than the kernel takes in one call, or than an int counts.
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <new>
#include <span>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

#include "leak_check.hpp"
#include "parts.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/scale.hpp"

namespace {

using namespace aramid;
using namespace aramid::io;
using aramid::test::bytes_of;
using aramid::test::make_tcp_pair;
using aramid::test::piece;
using aramid::test::sanitized;

class tcp_large : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(tcp_large);

/// Zeros that take no memory.
class zeros {
public:
  explicit zeros(std::size_t size)
      : size_(size), begin_(::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (begin_ == MAP_FAILED) {
      throw std::bad_alloc();
    }
  }
  ~zeros() { ::munmap(begin_, size_); }
  zeros(const zeros&) = delete;
  zeros& operator=(const zeros&) = delete;

  [[nodiscard]] piece all() const { return {static_cast<const std::byte*>(begin_), size_}; }

private:
  std::size_t size_;
  void* begin_;
};

constexpr std::size_t gibibyte = std::size_t{1} << 30;

TEST_P(tcp_large, parts_of_more_than_two_gibibytes_are_begun_and_counted) {
  run([] {
    const zeros many(3 * gibibyte);
    std::vector<piece> parts{bytes_of("x"), many.all(), many.all(), bytes_of("y")};
    for (int i = 0; i < 62; ++i) {
      parts.push_back(many.all());
    }
    for (const const_parts each : {const_parts(parts).first(2), const_parts(parts).subspan(1), const_parts(parts)}) {
      auto [client, server] = make_tcp_pair();
      EXPECT_GT(client.write_some(each), 0U);
      std::size_t written = 0;
      fiber<> writing = spawn([&, &client = client] { client.write_all(each, written); });
      std::vector<std::byte> got(std::size_t{16} << 20);
      server.read_exactly(got);
      writing.cancel();
      EXPECT_THROW(writing.join(), fiber_cancelled);
      EXPECT_GT(written, 0U);
    }
  });
}

TEST_P(tcp_large, more_than_four_gibibytes_in_one_write_are_all_written) {
  if (sanitized) {
    GTEST_SKIP() << "takes too long under a sanitizer";
  }
  run([] {
    auto [client, server] = make_tcp_pair();
    const zeros many(3 * gibibyte);
    const std::array parts{bytes_of("x"), many.all(), many.all().first(gibibyte), bytes_of("yz")};
    std::size_t written = 0;
    fiber<> writing = spawn([&, &client = client] {
      client.write_all(parts, written);
      client.shutdown(shutdown_how::write);
    });
    std::vector<std::byte> buffer(std::size_t{1} << 20);
    std::byte last{};
    std::size_t got = 0;
    while (const std::size_t n = server.read_some(buffer)) {
      got += n;
      last = buffer[n - 1];
    }
    writing.join();
    EXPECT_EQ(got, 4 * gibibyte + 3);
    EXPECT_EQ(written, 4 * gibibyte + 3);
    EXPECT_EQ(last, std::byte{'z'});
  });
}

}  // namespace
