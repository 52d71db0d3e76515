// I/O by threads that are no fibers, beside fibers.
#include <aramid/io/file.hpp>
#include <aramid/io/signal.hpp>
#include <aramid/io/tcp.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/timeout.hpp>

#include "leak_check.hpp"
#include "tcp_pair.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::loopback;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;
using aramid::test::tcp_pair;

class plain_thread_io : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(plain_thread_io);

TEST_P(plain_thread_io, stream_made_in_a_runtime_serves_a_plain_thread) {
  runtime rt(GetParam().opts());
  tcp_pair pair = rt.spawn([] { return make_tcp_pair(); }).join();
  fiber<> echoing = rt.spawn([&] {
    std::array<std::byte, 4096> buffer;
    while (const std::size_t n = pair.server.read_some(buffer)) {
      pair.server.write_all(std::span(buffer).first(n));
    }
  });
  const auto data = pattern(100'000);
  std::thread writer([&] { pair.client.write_all(data); });
  std::vector<std::byte> back(data.size());
  pair.client.read_exactly(back);
  EXPECT_TRUE(back == data);
  writer.join();
  pair.client.close();
  echoing.join();
}

TEST_P(plain_thread_io, entered_thread_listens_connects_and_opens_files) {
  runtime rt(GetParam().opts());
  const auto inside = rt.enter();
  tcp_listener listener(loopback);
  tcp_stream client = connect(listener.local_endpoint());
  tcp_stream server = listener.accept();
  client.write_all("x");
  std::array<char, 1> buffer;
  server.read_exactly(buffer);
  file null = file::open("/dev/null");
  EXPECT_EQ(null.read_some(buffer), 0U);
}

TEST_P(plain_thread_io, deadline_of_a_plain_thread) {
  runtime rt(GetParam().opts());
  tcp_pair pair = rt.spawn([] { return make_tcp_pair(); }).join();
  std::array<char, 3> buffer;
  EXPECT_THROW(with_timeout(10ms, [&] { pair.server.read_some(buffer); }), timeout_error);
  pair.client.write_all("abc");
  with_timeout(10s, [&] { pair.server.read_exactly(buffer); });
  EXPECT_EQ(std::string_view(buffer.data(), 3), "abc");
}

TEST_P(plain_thread_io, signal_wait) {
  runtime rt(GetParam().opts());
  const auto inside = rt.enter();
  signal_set set{SIGUSR1};
  std::thread sender([] {
    std::this_thread::sleep_for(5ms);
    ::kill(::getpid(), SIGUSR1);
  });
  EXPECT_EQ(set.wait(), SIGUSR1);
  sender.join();
}

TEST_P(plain_thread_io, without_a_runtime_is_a_clear_error) {
  tcp_listener listener(loopback);
  try {
    (void)listener.accept();
    FAIL();
  } catch (const std::logic_error& e) {
    EXPECT_NE(std::string(e.what()).find("tcp_listener::accept"), std::string::npos) << e.what();
  }
  std::error_code ec;
  EXPECT_THROW((void)connect(listener.local_endpoint(), ec), std::logic_error);
  EXPECT_THROW((void)file::open("/dev/null"), std::logic_error);
  listener.close();
}

TEST_P(plain_thread_io, listener_made_before_the_runtime_serves_its_fibers) {
  tcp_listener listener(loopback);
  run([&] {
    tcp_stream client = connect(listener.local_endpoint());
    EXPECT_TRUE(listener.accept().is_open());
  });
}

TEST_P(plain_thread_io, two_runtimes_share_a_stream) {
  runtime first(GetParam().opts());
  runtime second(GetParam().opts());
  tcp_pair pair = first.spawn([] { return make_tcp_pair(); }).join();
  fiber<> writing = first.spawn([&] { pair.client.write_all("across"); });
  fiber<> reading = second.spawn([&] {
    std::array<char, 6> buffer;
    pair.server.read_exactly(buffer);
    EXPECT_EQ(std::string_view(buffer.data(), 6), "across");
  });
  writing.join();
  reading.join();
  EXPECT_EQ(second.stats().driver, GetParam().driver);
}

}  // namespace
