// The rows of DESIGN §5's table of hazards that are io_uring's own and that no other test is about.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/io/file.hpp>
#include <aramid/run.hpp>

#include "io/src/uring/ring.hpp"
#include "leak_check.hpp"
#include "tcp_pair.hpp"
#include "tests/runtime/forked_child.hpp"
#include "tests/runtime/runtime_fixture.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using aramid::detail::ring;
using aramid::detail::ring_sizes;
using aramid::test::captured_log;
using aramid::test::in_a_child;

class kernel_threads : public aramid::test::leak_check {};

/// Threads that io_uring has made for what may block: "iou-wrk-", and the thread that they are for.
int count_kernel_threads() {
  int count = 0;
  aramid::test::count_entries("/proc/self/task", [&](const std::string& path) {
    std::ifstream file(path + "/comm");
    std::string name;
    std::getline(file, name);
    count += name.starts_with("iou-wrk-") ? 1 : 0;
  });
  return count;
}

/// A FIFO that nobody else knows. An open of one end waits for the other.
class fifo {
public:
  fifo() {
    std::string directory = std::filesystem::temp_directory_path() / "aramid-fifo-XXXXXX";
    if (::mkdtemp(directory.data()) == nullptr) {
      throw std::system_error(errno, std::system_category(), "mkdtemp");
    }
    directory_ = directory;
    path_ = directory + "/fifo";
    if (::mkfifo(path_.c_str(), 0600) != 0) {
      throw std::system_error(errno, std::system_category(), "mkfifo");
    }
  }
  ~fifo() { std::filesystem::remove_all(directory_); }
  fifo(const fifo&) = delete;
  fifo& operator=(const fifo&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

private:
  std::string directory_, path_;
};

constexpr int file_threads = 16, other_threads = 32;  // ring::cap_kernel_threads
constexpr int many = 64;

void put_open(ring& r, const char* path, int flags, std::uint64_t data) {
  io_uring_sqe* const entry = r.prepare();
  ASSERT_NE(entry, nullptr);
  io_uring_prep_openat(entry, AT_FDCWD, path, flags | O_CLOEXEC, 0);
  entry->flags |= IOSQE_ASYNC;  // to a kernel thread at once, which aramid never asks for
  entry->user_data = data;
  r.publish();
}

// "io-wq spawns hundreds of threads … FIFO opens can fill the cap" (liburing#1466)
TEST_F(kernel_threads, do_not_get_more_than_their_cap_and_opens_of_fifos_fill_it) {
  // On a thread of its own: the kernel's threads end with it.
  std::thread([] {
    const fifo waits;
    ring r({.submissions = 128, .completions = 256});
    unsigned limits[2] = {0, 0};  // asks
    ASSERT_EQ(io_uring_register_iowq_max_workers(&r.native(), limits), 0);
    EXPECT_EQ(limits[0], static_cast<unsigned>(file_threads));
    EXPECT_EQ(limits[1], static_cast<unsigned>(other_threads));

    for (int i = 0; i != many; ++i) {
      put_open(r, waits.path().c_str(), O_RDONLY, 1);
    }
    ASSERT_EQ(r.enter(many, 0), many);
    ASSERT_TRUE(aramid::test::eventually([] { return count_kernel_threads() >= file_threads; }));
    // All are taken: what would not wait at all is kept waiting.
    put_open(r, "/dev/null", O_RDONLY, 2);
    ASSERT_EQ(r.enter(1, 0), 1);
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(count_kernel_threads(), file_threads);
    r.enter(0, 0);
    EXPECT_FALSE(r.has_completions());

    const int other_end = ::open(waits.path().c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(other_end, 0);
    int opened = 0;
    while (opened != many + 1) {
      r.enter(0, 1, aramid::clock::now() + 10s);
      opened += static_cast<int>(r.reap([](const io_uring_cqe& cqe) {
        EXPECT_GE(cqe.res, 0);
        ::close(cqe.res);
      }));
      EXPECT_LE(count_kernel_threads(), file_threads);
    }
    ::close(other_end);
  }).join();
}

TEST_F(kernel_threads, are_not_kept_by_fifos_that_fibers_open_and_read) {
  aramid::run(
      [] {
        const fifo waits;
        std::vector<io::file> files;
        for (int i = 0; i != many; ++i) {
          files.push_back(io::file::open(waits.path()));  // though nobody writes
        }
        const int writer = ::open(waits.path().c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        ASSERT_GE(writer, 0);
        const std::uint64_t before = stats().submissions;
        std::vector<fiber<std::size_t>> reading;
        for (io::file& each : files) {
          reading.push_back(spawn([&each] {
            std::array<char, 1> buffer;
            return each.read_some(buffer);
          }));
        }
        while (stats().submissions < before + many) {
          this_fiber::yield();
        }
        this_fiber::sleep_for(20ms);
        EXPECT_LE(count_kernel_threads(), file_threads + other_threads);
        // None of them is in the way of a file.
        EXPECT_TRUE(io::file::open("/dev/null").is_open());
        const std::string bytes(many, 'x');
        EXPECT_EQ(::write(writer, bytes.data(), bytes.size()), many);
        for (fiber<std::size_t>& each : reading) {
          EXPECT_EQ(each.join(), 1U);
        }
        ::close(writer);
      },
      {.workers = 1, .driver = "io_uring"});
}

// "RLIMIT_MEMLOCK counts rings again on ≥ 6.14" (liburing#1408)

class locked_memory : public aramid::test::forking<aramid::test::leak_check> {
protected:
  void SetUp() override {
    forking::SetUp();
    if (IsSkipped()) {
      return;
    }
    if (::geteuid() != 0) {
      GTEST_SKIP() << "needs a user of its own, as whom nobody else has locked anything";
    }
    if (!in_a_child([] { return be_nobody_else(0) && setup_error({1, 2}) == ENOMEM; })) {
      GTEST_SKIP() << "this kernel does not count rings as locked memory";
    }
  }

  /// As a user without capabilities, whom no other process has, and who may lock so much. In a child.
  static bool be_nobody_else(std::size_t bytes) {
    const rlimit limit{bytes, bytes};
    const auto user = static_cast<::uid_t>(20'000 + ::getpid() % 40'000);
    return ::setrlimit(RLIMIT_MEMLOCK, &limit) == 0 && ::setresuid(user, user, user) == 0;
  }

  /// What the kernel says to such a ring. Leaves nothing behind that counts, if it refuses.
  static int setup_error(ring_sizes sizes) {
    io_uring_params params{};
    params.flags = IORING_SETUP_CQSIZE;
    params.cq_entries = sizes.completions;
    const long fd = ::syscall(SYS_io_uring_setup, sizes.submissions, &params);
    if (fd < 0) {
      return errno;
    }
    ::close(static_cast<int>(fd));
    return 0;
  }

  /// The memory of a ring's two queues, in whole pages.
  static std::size_t bytes_of(ring_sizes sizes) {
    io_uring_params params{};
    params.flags = IORING_SETUP_CQSIZE;
    params.cq_entries = sizes.completions;
    const long fd = ::syscall(SYS_io_uring_setup, sizes.submissions, &params);
    EXPECT_GE(fd, 0);
    ::close(static_cast<int>(fd));
    const auto pages = [](std::size_t bytes) {
      const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
      return (bytes + page - 1) / page * page;
    };
    const std::size_t completions_end = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
    const std::size_t submissions_end = params.sq_off.array + params.sq_entries * sizeof(std::uint32_t);
    return pages(std::max(completions_end, submissions_end)) + pages(params.sq_entries * sizeof(io_uring_sqe));
  }

  static ring_sizes divided(unsigned by) {
    const ring_sizes whole;
    return {whole.submissions / by, whole.completions / by};
  }

  /// Echoes on a connection of its own. Returns: the driver that it was done on.
  static std::string program(unsigned workers) {
    return aramid::run(
        [] {
          auto [client, server] = aramid::test::make_tcp_pair();
          client.write_all("abc");
          return aramid::test::read_text(server, 3) == "abc" ? std::string(stats().driver) : std::string();
        },
        {.workers = workers});
  }
};

TEST_F(locked_memory, that_is_short_makes_a_smaller_ring) {
  for (const unsigned by : {2U, 4U, 32U}) {
    const std::size_t limit = bytes_of(divided(by));
    ASSERT_LT(limit, bytes_of(divided(by / 2)));
    EXPECT_TRUE(in_a_child([&] {
      if (!be_nobody_else(limit) || setup_error(divided(by / 2)) != ENOMEM) {
        return false;  // the limit must bite
      }
      const ring fits({});
      return fits.submission_entries() == divided(by).submissions && fits.completion_entries() == divided(by).completions;
    })) << "a ring of 1/"
        << by;
  }
}

TEST_F(locked_memory, that_is_short_is_enough_for_a_program_and_no_news) {
  const std::size_t limit = bytes_of(divided(4));
  EXPECT_TRUE(in_a_child([&] {
    const captured_log log;
    return be_nobody_else(limit) && setup_error({}) == ENOMEM && program(1) == "io_uring" && log.lines().empty();
  }));
}

TEST_F(locked_memory, that_is_none_ends_in_epoll_with_one_line_that_says_why) {
  EXPECT_TRUE(in_a_child([] {
    if (!be_nobody_else(0)) {
      return false;
    }
    const captured_log log;
    const bool fell_back = program(2) == "epoll" && program(1) == "epoll";
    const std::vector<std::string> lines = log.lines();
    return fell_back && lines.size() == 1 && lines[0].find("epoll") != std::string::npos && lines[0].find("RLIMIT_MEMLOCK") != std::string::npos;
  }));
}

// The ring of the first worker fits, that of the second does not, not even the smallest: none of them keeps one.
TEST_F(locked_memory, for_some_of_the_rings_moves_all_workers_to_epoll) {
  const std::size_t limit = bytes_of(divided(32));
  EXPECT_TRUE(in_a_child([&] {
    const captured_log log;
    return be_nobody_else(limit) && program(8) == "epoll" && log.lines().size() == 1 && aramid::test::look_at_process().rings == 0;
  }));
}

}  // namespace
