// Which driver a runtime gets, and that a program works on where io_uring is refused (io/src/driver_select.hpp).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/io/file.hpp>
#include <aramid/io/signal.hpp>
#include <aramid/run.hpp>

#include "leak_check.hpp"
#include "refused_calls.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/forked_child.hpp"
#include "tests/runtime/runtime_fixture.hpp"

namespace {

using namespace aramid;
using aramid::test::captured_log;
using aramid::test::in_a_child;
using aramid::test::make_tcp_pair;
using aramid::test::pattern;
using aramid::test::refuse_calls;

bool tcp_works() {
  auto [client, server] = make_tcp_pair();
  const auto data = pattern(100'000);
  fiber<> writing = spawn([&] { client.write_all(data); });
  std::vector<std::byte> came(data.size());
  server.read_exactly(came);
  writing.join();
  return came == data;
}

bool files_work() {
  const std::string path = std::filesystem::temp_directory_path() / ("aramid-drivers-" + std::to_string(::getpid()));
  const auto data = pattern(10'000);
  io::file file = io::file::open(path, {.read = true, .write = true, .create = true});
  std::filesystem::remove(path);
  file.write_all(data);
  file.sync();
  std::vector<std::byte> came(data.size());
  const std::size_t count = file.read_at(0, came);
  const bool whole = count == data.size() && came == data && file.size() == data.size();
  file.close();
  return whole;
}

bool pipes_work() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return false;
  }
  io::file out = io::file::adopt(ends[1]);
  io::file in = io::file::adopt(ends[0]);
  fiber<> writing = spawn([&] { out.write_all("through"); });
  const bool whole = aramid::test::read_text(in, 7) == "through";
  writing.join();
  return whole;
}

bool signals_work() {
  io::signal_set set{SIGUSR1};
  fiber<int> waiting = spawn([&] { return set.wait(); });
  ::kill(::getpid(), SIGUSR1);
  return waiting.join() == SIGUSR1;
}

/// What a program does. Returns: the driver that it was done on; "" if something of it did not work.
std::string program(const options& how = {.workers = 2}) {
  return run(
      [] {
        const bool well = tcp_works() && files_work() && signals_work();
        return well ? std::string(stats().driver) : std::string();
      },
      how);
}

template <class Error>
std::string message_of(const options& how) {
  try {
    (void)program(how);
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing was thrown";
}

using driver_choice = aramid::test::leak_check;

class driver_choice_in_a_child : public aramid::test::forking<aramid::test::leak_check> {};

class io_uring_refused : public aramid::test::forking<aramid::test::leak_check>, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Io, io_uring_refused, ::testing::Values(EPERM, ENOSYS, ENOMEM, EOPNOTSUPP, EINVAL, EACCES, EMFILE),
                         [](const auto& param) { return std::string(strerrorname_np(param.param)); });

TEST_P(io_uring_refused, ends_in_a_program_that_works) {
  EXPECT_TRUE(in_a_child([&] { return refuse_calls({SYS_io_uring_setup}, GetParam()) && program() == "epoll"; }));
}

TEST_P(io_uring_refused, only_to_be_entered_ends_so_too) {
  EXPECT_TRUE(in_a_child([&] { return refuse_calls({SYS_io_uring_enter}, GetParam()) && program() == "epoll"; }));
}

TEST_P(io_uring_refused, only_to_be_registered_with_ends_so_too) {
  EXPECT_TRUE(in_a_child([&] { return refuse_calls({SYS_io_uring_register}, GetParam()) && program() == "epoll"; }));
}

TEST_P(io_uring_refused, is_said_once_and_why) {
  EXPECT_TRUE(in_a_child([&] {
    if (!refuse_calls({SYS_io_uring_setup}, GetParam())) {
      return false;
    }
    const captured_log log;
    (void)program();
    (void)program();
    const std::vector<std::string> lines = log.lines();
    return lines.size() == 1 && lines[0].find("epoll") != std::string::npos && lines[0].find("io_uring_setup") != std::string::npos &&
           lines[0].find(std::system_category().message(GetParam())) != std::string::npos;
  }));
}

TEST_P(io_uring_refused, is_an_error_for_who_wants_nothing_else) {
  EXPECT_TRUE(in_a_child([&] {
    if (!refuse_calls({SYS_io_uring_setup}, GetParam())) {
      return false;
    }
    const captured_log log;
    return message_of<std::system_error>({.workers = 2, .driver = "io_uring"}).find("io_uring_setup") != std::string::npos &&
           log.lines().empty();
  }));
}

// Docker's profile of 2023 knows neither: the one is what an epoll with nanoseconds needs, the other reads what is cached.
TEST_F(driver_choice_in_a_child, works_where_newer_calls_are_refused_too) {
  EXPECT_TRUE(in_a_child([] {
    return refuse_calls({SYS_io_uring_setup, SYS_epoll_pwait2, SYS_preadv2, SYS_pwritev2, SYS_membarrier}, ENOSYS) && program() == "epoll";
  }));
}

// A program that enters its sandbox when its workers already count on membarrier.
TEST_F(driver_choice_in_a_child, works_when_calls_are_refused_in_the_middle) {
  for (const char* const driver : {"io_uring", "epoll"}) {
    EXPECT_TRUE(in_a_child([&] {
      return run(
          [] {
            const bool before = tcp_works();
            return refuse_calls({SYS_membarrier, SYS_preadv2, SYS_pwritev2}, EPERM) && before && tcp_works() && files_work() &&
                   pipes_work();
          },
          {.workers = 4, .driver = driver});
    })) << driver;
  }
}

TEST_F(driver_choice_in_a_child, without_memory_to_lock) {
  EXPECT_TRUE(in_a_child([] {
    // As root the limit does not count.
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2]{};
    const rlimit nothing{0, 0};
    if (::setrlimit(RLIMIT_MEMLOCK, &nothing) != 0 || ::syscall(SYS_capset, &header, none) != 0) {
      return false;
    }
    // Between Linux 5.12 and 6.13 rings do not count as locked.
    io_uring_params smallest{};
    const long ring = ::syscall(SYS_io_uring_setup, 1, &smallest);
    const bool bites = ring < 0 && errno == ENOMEM;
    if (ring >= 0) {
      ::close(static_cast<int>(ring));
    }
    return program() == (bites ? "epoll" : "io_uring");
  }));
}

TEST_F(driver_choice, by_options) {
  EXPECT_EQ(program({.workers = 2}), "io_uring");
  EXPECT_EQ(program({.workers = 2, .driver = "io_uring"}), "io_uring");
  EXPECT_EQ(program({.workers = 2, .driver = "epoll"}), "epoll");
  EXPECT_EQ(message_of<std::invalid_argument>({.workers = 2, .driver = "kqueue"}),
            "options::driver: \"kqueue\": no such driver; there is: io_uring, epoll");
}

TEST_F(driver_choice, by_options_is_looked_at_with_the_first_operation) {
  EXPECT_EQ(run([] { return std::string(stats().driver); }, {.workers = 2, .driver = "kqueue"}), "none");
}

TEST_F(driver_choice, a_refusal_can_be_survived) {
  run(
      [] {
        EXPECT_THROW((void)make_tcp_pair(), std::invalid_argument);
        EXPECT_THROW((void)make_tcp_pair(), std::invalid_argument);
      },
      {.workers = 2, .driver = "kqueue"});
}

// In children of their own making: the environment is read once a process.
TEST_F(driver_choice, by_the_environment_before_options) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        ::setenv("ARAMID_DRIVER", "epoll", 1);
        std::fputs(program({.workers = 2, .driver = "io_uring"}).c_str(), stderr);
        std::_Exit(0);
      },
      ::testing::ExitedWithCode(0), "^epoll$");
}

TEST_F(driver_choice, by_an_environment_that_names_none) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        ::setenv("ARAMID_DRIVER", "no-such-driver", 1);
        std::fputs(message_of<std::invalid_argument>({.workers = 2}).c_str(), stderr);
        std::_Exit(0);
      },
      ::testing::ExitedWithCode(0), "^ARAMID_DRIVER=\"no-such-driver\": no such driver; there is: io_uring, epoll$");
}

TEST_F(driver_choice, two_runtimes_on_two_drivers_share_a_connection) {
  runtime first({.workers = 2, .driver = "io_uring"});
  runtime second({.workers = 2, .driver = "epoll"});
  auto pair = first.spawn([] { return make_tcp_pair(); }).join();
  constexpr int rounds = 1000;
  fiber<> here = first.spawn([&] {
    for (int i = 0; i < rounds; ++i) {
      char byte = 0;
      pair.client.write_all("x");
      pair.client.read_exactly({&byte, 1});
    }
    pair.client.shutdown(io::shutdown_how::write);
  });
  fiber<int> there = second.spawn([&] {
    int count = 0;
    char byte = 0;
    while (pair.server.read_some(std::span<char>(&byte, 1)) != 0) {
      pair.server.write_all(std::string_view(&byte, 1));
      ++count;
    }
    return count;
  });
  here.join();
  EXPECT_EQ(there.join(), rounds);
  EXPECT_EQ(first.stats().driver, "io_uring");
  EXPECT_EQ(second.stats().driver, "epoll");
}

}  // namespace
