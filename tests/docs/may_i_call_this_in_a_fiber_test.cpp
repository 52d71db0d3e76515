// The rows of docs/may_i_call_this_in_a_fiber.md.
#include <gtest/gtest.h>
#include <netdb.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/aramid.hpp>

#include "docs_fixture.hpp"

using namespace aramid;
using namespace std::chrono_literals;

// Stand-ins for libraries that these tests do not link: each has a state per thread, as the real one has.
namespace {

thread_local std::vector<unsigned long> openssl_errors;

int SSL_do_something() {
  openssl_errors.push_back(0x0A000126);
  return -1;
}
unsigned long ERR_get_error() {
  if (openssl_errors.empty()) {
    return 0;
  }
  const unsigned long first = openssl_errors.front();
  openssl_errors.erase(openssl_errors.begin());
  return first;
}
void ERR_clear_error() { openssl_errors.clear(); }

thread_local int cuda_device = 0;

void cudaSetDevice(int device) { cuda_device = device; }
int cudaStreamSynchronize() {
  std::this_thread::sleep_for(1ms);
  return cuda_device;
}

}  // namespace

namespace {

class in_a_fiber : public test::runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, in_a_fiber, test::few_or_many);

class in_a_fiber_run : public test::leaves_nothing {};

TEST_P(in_a_fiber, std_mutex) {
  run([] {
    int total = 0;
    // row: std::mutex
    std::mutex lock;
    with_task_group([&](task_group& group) {
      for (int i = 0; i < 100; ++i) {
        group.spawn([&] {
          const std_guard guard(lock);  // short, and nothing in it suspends
          ++total;
        });
      }
    });
    // end
    EXPECT_EQ(total, 100);
  });
}

TEST_P(in_a_fiber, a_lock_that_is_held_across_a_wait) {
  run([] {
    int total = 0;
    // row: aramid::mutex
    mutex lock;
    with_task_group([&](task_group& group) {
      for (int i = 0; i < 10; ++i) {
        group.spawn([&] {
          const std::lock_guard guard(lock);
          const int before = total;
          this_fiber::yield();  // may suspend
          total = before + 1;
        });
      }
    });
    // end
    EXPECT_EQ(total, 10);
  });
}

TEST_P(in_a_fiber, sleep_for) {
  run([] {
    const auto begin = clock::now();
    // row: std::this_thread::sleep_for
    this_fiber::sleep_for(2ms);
    // end
    EXPECT_GE(clock::now() - begin, 2ms);
  });
}

TEST_P(in_a_fiber, get_id) {
  run([] {
    // row: std::this_thread::get_id
    fiber_id before = this_fiber::get_id();
    this_fiber::sleep_for(1ms);
    bool same = this_fiber::get_id() == before;  // of the threads' ids that may not be so
    // end
    EXPECT_TRUE(same);
  });
}

struct settings {
  int port = 0;
};
std::atomic<int> loads = 0;
settings load_settings() {
  this_fiber::yield();
  ++loads;
  return {7777};
}

// row: a function-local static
const settings& current_settings() {
  static mutex lock;
  static std::optional<settings> loaded;
  const std::lock_guard guard(lock);
  if (!loaded) {
    loaded = load_settings();  // may suspend: those who wait for the lock are fibers that wait
  }
  return *loaded;
}
// end

TEST_P(in_a_fiber, function_local_static) {
  run([] {
    std::vector<fiber<int>> askers;
    for (int i = 0; i < 4; ++i) {
      askers.push_back(spawn([] { return current_settings().port; }));
    }
    for (fiber<int>& each : askers) {
      EXPECT_EQ(each.join(), 7777);
    }
    EXPECT_EQ(loads, 1);
  });
  loads = 1;  // the static stays
}

TEST_P(in_a_fiber, standard_input) {
  std::istringstream typed("a line\n");
  std::streambuf* const before = std::cin.rdbuf(typed.rdbuf());
  run([] {
    // row: std::cin
    std::string line;
    blocking([&] { std::getline(std::cin, line); });
    // end
    EXPECT_EQ(line, "a line");
  });
  std::cin.rdbuf(before);
}

TEST_P(in_a_fiber, name_lookup) {
  run([] {
    const char* const host = "127.0.0.1";
    // row: resolve
    std::vector<io::endpoint> addresses = io::resolve(host, 80);
    // end
    EXPECT_EQ(addresses.size(), 1U);
    // row: getaddrinfo
    addrinfo* found = nullptr;
    int error = blocking([&] { return ::getaddrinfo(host, "80", nullptr, &found); });
    // end
    ASSERT_EQ(error, 0);
    EXPECT_EQ(io::endpoint::from_native(found->ai_addr, found->ai_addrlen).port(), 80);
    ::freeaddrinfo(found);
  });
}

// row: errno
[[gnu::noinline]] int error_of_closing(int fd) {  // a function of its own, in which nothing suspends
  return ::close(fd) == 0 ? 0 : errno;
}
// end

TEST_P(in_a_fiber, errno_after_a_call) {
  run([] {
    with_task_group([](task_group& group) {
      for (int i = 0; i < 8; ++i) {
        group.spawn([] {
          for (int round = 0; round < 100; ++round) {
            EXPECT_EQ(error_of_closing(-1), EBADF);
            this_fiber::yield();
          }
        });
      }
    });
  });
}

// row: std::stoi
int number_in(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw std::invalid_argument("not a number: " + std::string(text));
  }
  return number;
}
// end

TEST_P(in_a_fiber, numbers_from_text) {
  run([] {
    EXPECT_EQ(number_in("42"), 42);
    EXPECT_THROW(number_in("99999999999999999999"), std::invalid_argument);
    EXPECT_THROW(number_in("many"), std::invalid_argument);
  });
}

TEST_P(in_a_fiber, thread_local_variables) {
  run([] {
    // row: thread_local
    static fiber_local<std::string> scratch;  // in place of `thread_local std::string`
    *scratch = "mine";
    this_fiber::sleep_for(1ms);
    bool still_mine = *scratch == "mine";
    // end
    EXPECT_TRUE(still_mine);
    EXPECT_EQ(spawn([] { return *scratch; }).join(), "");
  });
}

TEST_P(in_a_fiber, openssl_error_queue) {
  run([] {
    std::string what;
    // row: OpenSSL's error queue
    ERR_clear_error();
    if (SSL_do_something() != 1) {
      const unsigned long error = ERR_get_error();  // at once: the queue is the thread's
      this_fiber::yield();                          // only now anything that suspends: logging, closing, sending
      what = "TLS failed: " + std::to_string(error);
    }
    // end
    EXPECT_EQ(what, "TLS failed: 167772454");
  });
}

TEST_P(in_a_fiber, cuda_context) {
  run([] {
    const int device = 1;
    // row: CUDA
    int used = blocking([&] {
      cudaSetDevice(device);           // each time: the thread's current device is anybody's
      return cudaStreamSynchronize();  // blocks, here nobody but the caller
    });
    // end
    EXPECT_EQ(used, device);
  });
}

TEST_P(in_a_fiber, child_processes) {
  run([] {
    // row: fork
    pid_t child = 0;
    const char* arguments[] = {"sh", "-c", "exit 7", nullptr};
    int error = ::posix_spawnp(&child, "sh", nullptr, nullptr, const_cast<char**>(arguments), environ);
    int status = 0;
    blocking([&] { ::waitpid(child, &status, 0); });
    // end
    EXPECT_EQ(error, 0);
    EXPECT_EQ(WEXITSTATUS(status), 7);
  });
}

TEST_P(in_a_fiber, threads) {
  run([] {
    int sum = 0;
    // row: std::thread, std::async
    promise<int> result;
    future<int> asked = result.get_future();
    std::thread worker([&] { result.set_value(42); });
    sum = asked.get();  // suspends; std::future::get would block the worker
    blocking([&] { worker.join(); });
    // end
    EXPECT_EQ(sum, 42);
  });
}

TEST_P(in_a_fiber, logging) {
  run([] {
    std::ostringstream log;
    std::ostream& out = log;
    // row: printf, iostream
    const std::string line = "fiber " + std::string(this_fiber::name()) + " is here\n";
    out << line;  // one insertion a line: fibers on other workers write too
    // end
    EXPECT_EQ(log.str(), "fiber root is here\n");
  });
}

TEST_P(in_a_fiber, heap) {
  run([] {
    // row: malloc
    void* memory = std::malloc(64);
    this_fiber::sleep_for(1ms);
    std::free(memory);  // perhaps on another thread: allocators do not mind
    // end
    EXPECT_NE(this_fiber::get_id(), 0U);
  });
}

TEST_P(in_a_fiber, signals) {
  run([] {
    // row: signals
    io::signal_set stop{SIGUSR1};
    ::raise(SIGUSR1);
    int number = stop.wait();
    // end
    EXPECT_EQ(number, SIGUSR1);
  });
}

TEST_P(in_a_fiber, catch_all) {
  run([] {
    int failures = 0;
    const auto step = [] { this_fiber::sleep_for(1h); };
    // row: catch (...)
    bool in_time = try_with_timeout(10ms, [&] {
      for (;;) {
        try {
          step();
        } catch (...) {
          rethrow_if_cancelled();  // else the loop would turn for ever: each wait throws again
          ++failures;
        }
      }
    });
    // end
    EXPECT_FALSE(in_time);
    EXPECT_EQ(failures, 0);
  });
}

TEST_P(in_a_fiber, waiting_in_a_catch_block) {
  run([] {
    std::string reported;
    channel<std::string> reports(1);
    // row: exceptions
    try {
      throw std::runtime_error("on purpose");
    } catch (const std::exception& error) {
      this_fiber::sleep_for(1ms);  // suspends, and may resume on another thread
      reports.send(error.what());
    }
    // end
    EXPECT_EQ(reports.receive(), "on purpose");
  });
}

int depth_of(int levels) {
  volatile char frame[1024] = {};
  return levels == 0 ? frame[0] : 1 + depth_of(levels - 1);
}

TEST_P(in_a_fiber, deep_recursion) {
  run([] {
    // row: deep recursion, alloca
    fiber<int> deep = spawn({.name = "parser", .stack_size_bytes = 8 << 20}, depth_of, 2000);
    int depth = deep.join();
    // end
    EXPECT_EQ(depth, 2000);
  });
}

TEST_P(in_a_fiber, long_computations) {
  run([] {
    std::uint64_t sum = 0;
    // row: long computations
    for (std::uint64_t n = 0; n < 100'000; ++n) {
      sum += n;
      if (n % 4096 == 0) {
        this_fiber::checkpoint();
      }
    }
    // end
    EXPECT_EQ(sum, 4'999'950'000U);
  });
}

TEST_F(in_a_fiber_run, finding_what_blocks) {
  test::captured_log log;
  const auto serve = [&] {
    const auto patience = clock::now() + 60s;
    while (log.count("to itself") == 0 && clock::now() < patience) {
    }
  };
  // row: finding such calls
  run(serve, {.report_hogs_after = 20ms});  // names the fiber that keeps its thread, with its stack
  // end
  EXPECT_EQ(log.count("to itself"), 1U);
}

TEST_P(in_a_fiber, seeing_what_waits) {
  run([] {
    channel<int> never;
    fiber<> waiting = spawn({.name = "reader"}, [&] { (void)never.receive(); });
    std::string text;
    EXPECT_TRUE(test::eventually([&] {
      // row: seeing what waits
      text = dump_fibers();  // every fiber: its name, what it waits in and for how long, its stack
      // end
      return text.find("channel::receive") != std::string::npos;
    }));
    EXPECT_NE(text.find("'reader'"), std::string::npos);
  });
}

}  // namespace
