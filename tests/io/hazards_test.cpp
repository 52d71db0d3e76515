// What somebody else learned the hard way (DESIGN §5's table of hazards), as far as no other test is about it: each names its row.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/io/file.hpp>
#include <aramid/io/tcp.hpp>
#include <aramid/run.hpp>
#include <aramid/semaphore.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "leak_check.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/runtime_fixture.hpp"
#include "tests/runtime/scale.hpp"
#include "waiting.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::loopback;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;
using aramid::test::read_text;
using aramid::test::until_waiting_in;

class hazard : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(hazard);

std::pair<int, int> nonblocking_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    throw std::system_error(errno, std::system_category(), "socketpair");
  }
  return {ends[0], ends[1]};
}

/// So that it has been waited for, and the driver is told what comes.
template <class Write>
void wait_for_one_byte(tcp_stream& in, Write write) {
  fiber<> reading = spawn([&] { EXPECT_EQ(read_text(in, 1), "x"); });
  until_waiting_in("tcp_stream::read_some");
  write("x");
  reading.join();
}

// A read that ends before all that is there has not emptied it.
TEST_P(hazard, an_urgent_byte_hides_nothing_that_comes_behind_it) {
  run([] {
    tcp_listener listener(loopback);
    const aramid::test::raw_socket peer(listener.local_endpoint());
    tcp_stream in = listener.accept();
    wait_for_one_byte(in, [&](const char* text) { peer.write(text); });
    peer.write("abc");
    ASSERT_EQ(::send(peer.fd(), "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
    peer.write("efg");
    this_fiber::sleep_for(5ms);  // it is all there, and the driver has been told
    EXPECT_EQ(with_timeout(10s, [&] { return read_text(in, 6); }), "abcefg");
  });
}

TEST_P(hazard, a_message_with_descriptors_hides_nothing_that_comes_behind_it) {
  run([] {
    const auto [one, other] = nonblocking_pair();
    tcp_stream in = tcp_stream::adopt(one);
    const tcp_stream closes = tcp_stream::adopt(other);
    wait_for_one_byte(in, [&](const char* text) { ASSERT_EQ(::send(other, text, 1, 0), 1); });
    std::string text = "abc";
    iovec part{text.data(), text.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &other, sizeof(int));
    ASSERT_EQ(::sendmsg(other, &message, 0), 3);
    ASSERT_EQ(::send(other, "def", 3, 0), 3);
    this_fiber::sleep_for(5ms);
    EXPECT_EQ(with_timeout(10s, [&] { return read_text(in, 6); }), "abcdef");
  });
}

// "O_NONBLOCK descriptors give spurious EAGAIN" (liburing#364)
TEST_P(hazard, descriptors_that_somebody_made_nonblocking_are_waited_for) {
  run([] {
    const auto [one, other] = nonblocking_pair();
    tcp_stream left = tcp_stream::adopt(one);
    tcp_stream right = tcp_stream::adopt(other);
    const auto much = pattern(2'000'000);  // more than the kernel takes at once
    fiber<> writing = spawn([&] {
      until_waiting_in("tcp_stream::read_exactly");
      left.write_all(much);
    });
    std::vector<std::byte> came(much.size());
    right.read_exactly(came);
    writing.join();
    EXPECT_EQ(came, much);

    tcp_listener listener(loopback);
    ::fcntl(listener.native_handle(), F_SETFL, ::fcntl(listener.native_handle(), F_GETFL) | O_NONBLOCK);
    fiber<tcp_stream> accepting = spawn([&] { return listener.accept(); });
    until_waiting_in("tcp_listener::accept");
    tcp_stream client = connect(listener.local_endpoint());
    EXPECT_TRUE(accepting.join().is_open());

    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    file out = file::adopt(ends[1]);
    file in = file::adopt(ends[0]);
    fiber<std::string> reading = spawn([&] { return read_text(in, 4); });
    until_waiting_in("file::read_some");
    out.write_all("pipe");
    EXPECT_EQ(reading.join(), "pipe");
    EXPECT_NE(::fcntl(in.native_handle(), F_GETFL) & O_NONBLOCK, 0) << "and left as they were";
  });
}

// The same descriptors of somebody else's, as they were: a shell's standard input, a listener of systemd's.
TEST_P(hazard, descriptors_that_somebody_made_blocking_are_given_back_so) {
  run([] {
    tcp_listener listener(loopback);
    tcp_stream client = connect(listener.local_endpoint());
    tcp_stream server = listener.accept();
    client.write_all("x");
    EXPECT_EQ(read_text(server, 1), "x");
    for (const int fd : {client.release(), server.release(), listener.release()}) {
      EXPECT_EQ(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
      ::close(fd);
    }
  });
}

/// Interrupts whatever the process's threads wait in, thousands of times a second, by a handler that does not restart calls.
class interruptions {
public:
  interruptions() {
    struct sigaction action {};
    action.sa_handler = [](int) { count.fetch_add(1, std::memory_order_relaxed); };
    ::sigaction(SIGALRM, &action, &before_);
    const itimerval often{{0, 200}, {0, 200}};
    ::setitimer(ITIMER_REAL, &often, nullptr);
  }
  ~interruptions() {
    const itimerval never{};
    ::setitimer(ITIMER_REAL, &never, nullptr);
    ::sigaction(SIGALRM, &before_, nullptr);
  }
  interruptions(const interruptions&) = delete;
  interruptions& operator=(const interruptions&) = delete;

  static inline std::atomic<int> count{0};

private:
  struct sigaction before_ {};
};

// "EINTR in a CQE or around submit_and_wait" (liburing#744, #1280)
TEST_P(hazard, a_storm_of_interruptions_changes_nothing) {
  const int before = interruptions::count;
  const interruptions storm;
  run([&] {
    auto [client, server] = make_tcp_pair();
    const auto data = pattern(aramid::test::sanitized ? 20'000 : 200'000);
    do {
      fiber<> writing = spawn([&] {
        for (std::size_t sent = 0; sent < data.size(); sent += 1000) {
          client.write_all(std::span(data).subspan(sent, 1000));
          this_fiber::sleep_for(20us);
        }
      });
      std::vector<std::byte> came(data.size());
      server.read_exactly(came);
      writing.join();
      ASSERT_EQ(came, data);
    } while (interruptions::count - before < 20);
  });
}

// "stack buffers freed after a cancel" (liburing#733, PhotonLibOS#1270): what was read into before the cancellation is nobody's but the
// fiber's after it, whatever comes then.
TEST_P(hazard, nothing_is_written_where_a_cancelled_read_was_to_write) {
  run([] {
    auto [client, server] = make_tcp_pair();
    const auto data = pattern(aramid::test::sanitized ? 5'000 : 50'000);
    counting_semaphore<> cut_short(0);  // the writer goes on when a read has been: it never runs ahead of all readers
    fiber<> writing = spawn([&] {
      std::minstd_rand random(1);
      for (std::size_t sent = 0; sent < data.size();) {
        if (random() % 2 == 0) {
          cut_short.acquire();
          this_fiber::sleep_for(std::chrono::microseconds(random() % 50));
        }
        const std::size_t piece = std::min<std::size_t>(1 + random() % 20, data.size() - sent);
        client.write_all(std::span(data).subspan(sent, piece));
        sent += piece;
      }
    });
    std::minstd_rand random(2);
    std::vector<std::byte> came;
    while (came.size() < data.size()) {
      std::array<std::byte, 64> buffer;
      std::size_t count = 0;
      if (!try_with_timeout(std::chrono::microseconds(random() % 40), [&] { count = server.read_some(buffer); })) {
        cut_short.release();
        constexpr std::byte canary{0xa5};
        buffer.fill(canary);
        this_fiber::sleep_for(std::chrono::microseconds(random() % 60));
        ASSERT_TRUE(std::all_of(buffer.begin(), buffer.end(), [](std::byte each) { return each == canary; }));
      }
      came.insert(came.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(count));
    }
    writing.join();
    EXPECT_EQ(came, data);
  });
}

// "close() neither ends requests nor sends FIN" (liburing#932): also while a duplicate keeps the connection open.
TEST_P(hazard, closing_ends_a_read_though_a_duplicate_is_open) {
  run([] {
    auto [client, server] = make_tcp_pair();
    const int duplicate = ::fcntl(server.native_handle(), F_DUPFD_CLOEXEC, 0);
    std::error_code ec;
    fiber<> reading = spawn([&] {
      std::array<char, 1> buffer;
      EXPECT_EQ(server.read_some(buffer, ec), 0U);
    });
    until_waiting_in("tcp_stream::read_some");
    server.close();
    reading.join();
    EXPECT_EQ(ec, errc::closed);
    // The next ones to get the number have nothing of it.
    auto [another, peer] = make_tcp_pair();
    another.write_all("mine");
    EXPECT_EQ(read_text(peer, 4), "mine");
    ::close(duplicate);
  });
}

/// Both ends of a connection whose client writes numbered bytes, and how many have gone and come.
struct counted_connection {
  aramid::test::tcp_pair ends = make_tcp_pair();
  std::size_t written = 0, read = 0;

  void write() {
    std::error_code ec;
    while (!ec) {
      struct counting {
        std::size_t& sum;
        std::size_t count = 0;
        ~counting() { sum += count; }
      } now{written};
      ends.client.write_all(pattern(1 + written % 5'000, written), now.count, ec);
    }
    ADD_FAILURE() << "a write ended with " << ec.message();
  }

  /// Returns: at the end of the stream.
  void receive() {
    std::array<std::byte, 3'000> buffer;
    std::error_code ec;
    while (const std::size_t count = ends.server.read_some(buffer, ec)) {
      for (std::size_t i = 0; i != count; ++i) {
        ASSERT_EQ(buffer[i], aramid::test::pattern_at(read + i));
      }
      read += count;
    }
    EXPECT_FALSE(ec) << ec.message();
  }
};

// "submitter or helper thread exits with operations pending → ECANCELED" (liburing#1595): whose thread ends was nobody's wish. Each operation ends as
// it would have, or is taken back because the runtime stops; and the next one's workers go on where it was.
TEST_P(hazard, workers_end_with_operations_pending_and_none_of_those_says_so) {
  constexpr std::size_t connections = 16;
  std::vector<counted_connection> all;
  tcp_listener listener;
  run([&] {
    listener = tcp_listener(loopback);
    all = std::vector<counted_connection>(connections);
  });
  std::minstd_rand random(1);
  for (int round = 0; round != 10; ++round) {
    runtime rt(GetParam().opts());
    std::vector<fiber<>> fibers;
    for (std::size_t i = 0; i != connections; ++i) {
      counted_connection& each = all[i];
      fibers.push_back(rt.spawn([&each] { each.write(); }));
      if (i % 2 == 0) {  // the others' writers come to wait
        fibers.push_back(rt.spawn([&each] { each.receive(); }));
      }
      fibers.push_back(rt.spawn([&each] {
        std::array<char, 1> buffer;
        std::error_code ec;
        EXPECT_EQ(each.ends.client.read_some(buffer, ec), 0U);
        ADD_FAILURE() << "a read on which nothing comes ended with " << ec.message();
      }));
    }
    fibers.push_back(rt.spawn([&] {
      std::error_code ec;
      (void)listener.accept(ec);
      ADD_FAILURE() << "an accept to which nobody comes ended with " << ec.message();
    }));
    ASSERT_TRUE(aramid::test::eventually([&] { return rt.stats().submissions > fibers.size(); }));
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 3'000));
    rt.stop();
    EXPECT_TRUE(std::all_of(fibers.begin(), fibers.end(), [](const fiber<>& each) { return each.done(); }));
    for (fiber<>& each : fibers) {
      EXPECT_THROW(each.join(), fiber_cancelled);
    }
  }
  run([&] {
    for (counted_connection& each : all) {
      each.ends.client.shutdown(shutdown_how::write);
      each.receive();
      EXPECT_EQ(each.read, each.written);
    }
  });
}

}  // namespace
