// Where memory runs out: nothing is lost, or whoever loses it is told. A program of its own, as its memory comes from here.
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/io/tcp.hpp>
#include <aramid/io/tcp_server.hpp>
#include <aramid/task_group.hpp>

#include "leak_check.hpp"
#include "runtime/src/thread_state.hpp"
#include "server_clients.hpp"

namespace {

std::atomic<const void*> whose{nullptr};
std::atomic<int> left_before{0};
std::atomic<int> failed{0};
std::atomic<bool> has_no_fibers{false};
std::atomic<int> times_refused{0};

bool fails_now() noexcept {
  const void* const fiber = whose.load();
  if (fiber == nullptr || fiber != aramid::detail::current_fiber() || left_before.fetch_sub(1) != 0) {
    return false;
  }
  ++failed;
  return true;
}

void* allocate(std::size_t size, std::size_t alignment) noexcept {
  if (fails_now()) {
    return nullptr;
  }
  return std::aligned_alloc(alignment, (std::max<std::size_t>(size, 1) + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  if (void* const memory = allocate(size, alignment)) {
    return memory;
  }
  throw std::bad_alloc();
}

constexpr std::size_t usual = alignof(std::max_align_t);

/// One allocation of the fiber that makes this fails, behind so many others.
class failing_allocation {
public:
  /// `has_failed` says at the end whether it came to that.
  failing_allocation(int others, bool& has_failed) : has_failed_(has_failed) {
    failed = 0;
    left_before = others;
    whose = aramid::detail::current_fiber();
  }
  ~failing_allocation() {
    whose = nullptr;
    has_failed_ = failed != 0;
  }
  failing_allocation(const failing_allocation&) = delete;
  failing_allocation& operator=(const failing_allocation&) = delete;

private:
  bool& has_failed_;
};

/// There are only as many fibers as have been.
class no_new_fibers {
public:
  no_new_fibers() { has_no_fibers = true; }
  ~no_new_fibers() { end(); }
  no_new_fibers(const no_new_fibers&) = delete;
  no_new_fibers& operator=(const no_new_fibers&) = delete;

  static void end() { has_no_fibers = false; }
  [[nodiscard]] static int refused() { return times_refused; }
};

}  // namespace

// The array forms of the library end in these; those of a sanitizer need not, but then they are of one kind.
void* operator new(std::size_t size) { return allocate_or_throw(size, usual); }
void* operator new[](std::size_t size) { return allocate_or_throw(size, usual); }
void* operator new(std::size_t size, std::align_val_t alignment) { return allocate_or_throw(size, static_cast<std::size_t>(alignment)); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return allocate_or_throw(size, static_cast<std::size_t>(alignment)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, usual); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, usual); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* gone) noexcept { std::free(gone); }
void operator delete[](void* gone) noexcept { std::free(gone); }
void operator delete(void* gone, std::size_t) noexcept { std::free(gone); }
void operator delete[](void* gone, std::size_t) noexcept { std::free(gone); }
void operator delete(void* gone, std::align_val_t) noexcept { std::free(gone); }
void operator delete[](void* gone, std::align_val_t) noexcept { std::free(gone); }
void operator delete(void* gone, std::size_t, std::align_val_t) noexcept { std::free(gone); }
void operator delete[](void* gone, std::size_t, std::align_val_t) noexcept { std::free(gone); }

// What the library's own code calls, linked with --wrap=mmap. By these flags it maps the control blocks of fibers, and what a ring lends, which nobody here asks
// for meanwhile; and no stacks.
extern "C" void* __real_mmap(void* address, std::size_t size, int protection, int flags, int fd, off_t offset);
extern "C" void* __wrap_mmap(void* address, std::size_t size, int protection, int flags, int fd, off_t offset) {
  if (has_no_fibers && (flags & (MAP_NORESERVE | MAP_STACK)) == MAP_NORESERVE) {
    ++times_refused;
    errno = ENOMEM;
    return MAP_FAILED;
  }
  return __real_mmap(address, size, protection, flags, fd, offset);
}

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using namespace aramid::test;

class io_memory : public aramid::test::on_each_driver {};
ARAMID_ON_EACH_DRIVER(io_memory);

TEST_P(io_memory, accept_with_backoff_loses_no_connection_whichever_allocation_fails) {
  run([] {
    tcp_listener listener(loopback);
    int others = 0;
    for (bool has_failed = true; has_failed; ++others) {
      tcp_stream client = connect(listener.local_endpoint());
      client.write_all("x");
      tcp_stream peer;
      {
        const failing_allocation failing(others, has_failed);
        peer = listener.accept_with_backoff();
      }
      EXPECT_EQ(read_char(peer), 'x') << "after " << others;
    }
    EXPECT_GT(others, 1);
  });
}

TEST_P(io_memory, accept_that_has_none_leaves_the_connection_in_the_backlog) {
  run([] {
    tcp_listener listener(loopback);
    tcp_stream client = connect(listener.local_endpoint());
    client.write_all("x");
    std::error_code ec;
    bool has_failed = false;
    {
      const failing_allocation failing(0, has_failed);
      (void)listener.accept(ec);
    }
    EXPECT_TRUE(has_failed);
    EXPECT_EQ(ec, std::errc::not_enough_memory);
    tcp_stream peer = listener.accept();
    EXPECT_EQ(read_char(peer), 'x');
  });
}

/// How a read of eight bytes is cut short when three have come.
enum class cut_by : bool { end, cancel };

void read_eight(tcp_stream& from, bool into_two, std::error_code& ec) {
  std::array<std::byte, 8> buffer;
  if (into_two) {
    from.read_exactly({std::span(buffer).first(4), std::span(buffer).last(4)}, ec);
  } else {
    from.read_exactly(buffer, ec);
  }
}

bool has_taken_all(const tcp_stream& from) {
  int bytes = -1;
  return ::ioctl(from.native_handle(), FIONREAD, &bytes) == 0 && bytes == 0;
}

/// Whether every read says that the stream has a hole; if not, whether all is still there.
bool has_told(tcp_stream& from) {
  std::array<char, 8> buffer{};
  std::error_code ec;
  std::string all;
  for (std::size_t count = 1; count != 0 && all.size() < 3;) {
    count = from.read_some(buffer, ec);
    all.append(buffer.data(), count);
  }
  if (!ec) {
    EXPECT_EQ(all, "abc");
    return false;
  }
  EXPECT_EQ(all, "");
  const std::array<std::span<std::byte>, 1> one{std::as_writable_bytes(std::span(buffer))};
  for (const auto& read : std::initializer_list<std::function<void()>>{[&] { from.read_some(buffer, ec); },
                                                                       [&] { from.read_some(one, ec); },
                                                                       [&] { from.read_some(mutable_parts(), ec); },
                                                                       [&] { from.read_exactly(buffer, ec); },
                                                                       [&] { from.read_exactly(one, ec); },
                                                                       [&] { EXPECT_TRUE(from.receive(ec).empty()); }}) {
    EXPECT_EQ(ec, errc::bytes_lost);
    ec.clear();
    read();
  }
  EXPECT_EQ(ec, errc::bytes_lost);
  return true;
}

TEST_P(io_memory, a_read_that_has_none_for_what_it_took_tells_all_that_come_after_it) {
  run([] {
    for (const cut_by how : {cut_by::end, cut_by::cancel}) {
      for (const bool into_two : {false, true}) {
        int told = 0;
        bool has_failed = true;
        // Again from the first, if it was none: a worker allocates for itself as well, once.
        for (int others = 0, left = 100; left != 0 && (has_failed || told == 0); others = has_failed ? others + 1 : 0, --left) {
          tcp_pair pair = make_tcp_pair();
          pair.client.write_all("abc");
          fiber<> reading = spawn([&] {
            std::error_code ec;
            try {
              const failing_allocation failing(others, has_failed);
              read_eight(pair.server, into_two, ec);
            } catch (const cancelled&) {
              return;
            }
            EXPECT_TRUE(ec == errc::end_of_stream || ec == std::errc::not_enough_memory) << ec.message();
          });
          if (how == cut_by::end) {
            pair.client.shutdown(shutdown_how::write);
          } else {
            wait_until([&] { return reading.done() || has_taken_all(pair.server); });
            reading.cancel();
          }
          reading.wait();
          told += has_told(pair.server) ? 1 : 0;
        }
        EXPECT_GT(told, 0) << "it was never the memory for the bytes that failed";
      }
    }
  });
}

/// Has `then` called with a server that has accepted a connection and waits for the memory of a fiber for it, and with whom that is to reach.
void with_a_server_in_want(const std::function<void(std::optional<tcp_server>&, fiber<>& serving, std::vector<tcp_stream>& clients, no_new_fibers& none)>& then) {
  event may_serve;
  task_group others;
  std::vector<tcp_stream> clients;
  std::optional<tcp_server> server;
  server.emplace(loopback, echo);
  fiber<> serving = spawn([&] {
    may_serve.wait();
    server->serve();
  });
  no_new_fibers none;
  int left = 100'000;
  for (const int before = none.refused(); none.refused() == before;) {
    if (--left == 0) {
      throw std::runtime_error("nobody is refused a fiber");
    }
    try {
      others.spawn([] { this_fiber::sleep_for(24h); });
    } catch (const std::bad_alloc&) {
    }
  }
  may_serve.set();
  // Other workers may have a few.
  for (const int before = none.refused(); none.refused() == before;) {
    clients.push_back(connect(server->local_endpoint()));
    wait_until([&] { return server->stats().accepted == clients.size() || none.refused() != before; });
  }
  then(server, serving, clients, none);
}

TEST_P(io_memory, a_server_that_is_cancelled_in_want_of_it_keeps_what_it_has_accepted) {
  run([] {
    with_a_server_in_want([](auto& server, fiber<>& serving, auto& clients, no_new_fibers& none) {
      serving.cancel();
      serving.wait();
      const server_statistics before = server->stats();
      EXPECT_EQ(before.active, before.accepted);
      none.end();
      serving = spawn([&] { server->serve(); });
      for (tcp_stream& each : clients) {
        EXPECT_TRUE(echoes(each, "still there"));
      }
      EXPECT_EQ(server->stats(), (server_statistics{.active = clients.size(), .accepted = clients.size()}));
    });
  });
}

/// What has a handler goes on, what has none is told to have failed, and nobody waits for it.
void expect_one_has_failed(tcp_server& server, std::vector<tcp_stream>& clients) {
  const server_statistics now = server.stats();
  EXPECT_EQ(now.failed, 1U);
  EXPECT_EQ(now.active, now.accepted - 1);
  EXPECT_EQ(static_cast<std::size_t>(std::ranges::count_if(clients, [](tcp_stream& each) { return echoes(each, "go on"); })), now.active);
  clients.clear();
  EXPECT_EQ(server.drain(1h), 0U);
  EXPECT_EQ(server.stats(), (server_statistics{.accepted = now.accepted, .finished = now.active, .failed = 1}));
}

TEST_P(io_memory, a_server_that_is_stopped_in_want_of_it_closes_what_it_cannot_serve) {
  run([] {
    with_a_server_in_want([](auto& server, fiber<>& serving, auto& clients, no_new_fibers&) {
      server->stop();
      serving.join();
      expect_one_has_failed(*server, clients);
    });
  });
}

TEST_P(io_memory, a_server_that_was_cancelled_in_want_of_it_and_is_stopped_serves_nobody_more) {
  run([] {
    with_a_server_in_want([](auto& server, fiber<>& serving, auto& clients, no_new_fibers& none) {
      serving.cancel();
      serving.wait();
      none.end();
      server->stop();
      serving = spawn([&] { server->serve(); });
      serving.join();
      expect_one_has_failed(*server, clients);
    });
  });
}

TEST_P(io_memory, a_server_that_was_cancelled_in_want_of_it_can_be_drained) {
  run([] {
    with_a_server_in_want([](auto& server, fiber<>& serving, auto& clients, no_new_fibers& none) {
      serving.cancel();
      serving.wait();
      none.end();
      fiber<std::size_t> draining = spawn([&] { return server->drain(1h); });
      wait_until([&] { return server->stats().failed == 1; });
      expect_one_has_failed(*server, clients);
      EXPECT_EQ(draining.join(), 0U);
    });
  });
}

TEST_P(io_memory, a_server_that_was_cancelled_in_want_of_it_can_be_destroyed) {
  run([] {
    with_a_server_in_want([](auto& server, fiber<>& serving, auto& clients, no_new_fibers&) {
      serving.cancel();
      serving.wait();
      server.reset();
      for (tcp_stream& each : clients) {
        EXPECT_EQ(read_char(each), '\0');
      }
    });
  });
}

}  // namespace
