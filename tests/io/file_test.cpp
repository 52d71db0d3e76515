#include <aramid/io/file.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "leak_check.hpp"
#include "tcp_pair.hpp"
#include "waiting.hpp"

namespace {

using namespace std::chrono_literals;
using namespace aramid;
using namespace aramid::io;
using aramid::test::pattern;
using aramid::test::read_text;
using aramid::test::pattern_at;
using aramid::test::until_waiting_in;

constexpr open_options for_writing{.read = false, .write = true, .create = true, .truncate = true};

class file_io : public aramid::test::on_each_driver {
protected:
  void SetUp() override {
    on_each_driver::SetUp();
    std::string name = std::filesystem::temp_directory_path() / "aramid-file-test-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }

  void TearDown() override {
    std::filesystem::remove_all(directory_);
    on_each_driver::TearDown();
  }

  [[nodiscard]] std::string path(const std::string& name) const { return directory_ / name; }

  static std::string content(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  static void fill(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }

  std::filesystem::path directory_;
};
ARAMID_ON_EACH_DRIVER(file_io);

TEST_P(file_io, what_was_written_is_read) {
  run([&] {
    constexpr std::size_t total = (std::size_t{1} << 20) + 123;
    const auto data = pattern(total);
    file out = file::open(path("f"), for_writing);
    for (std::size_t at = 0; at < total; at += 100'000) {
      out.write_all(std::span(data).subspan(at, std::min<std::size_t>(100'000, total - at)));
    }
    EXPECT_EQ(out.position(), total);
    out.sync_data();
    out.sync();
    out.close();

    file in = file::open(path("f"));
    EXPECT_EQ(in.size(), total);
    std::vector<std::byte> buffer(70'000);
    std::size_t got = 0;
    while (const std::size_t n = in.read_some(buffer)) {
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(buffer[i], pattern_at(got + i));
      }
      got += n;
    }
    EXPECT_EQ(got, total);
    EXPECT_EQ(in.position(), total);
    EXPECT_GT(stats().submissions, 0U);
  });
}

TEST_P(file_io, reads_and_writes_at_offsets_leave_the_position_alone) {
  run([&] {
    file f = file::open(path("f"), {.read = true, .write = true, .create = true});
    f.write_all("0123456789");
    f.write_at(3, "abc");
    f.write_at(12, "end");
    EXPECT_EQ(f.position(), 10U);
    EXPECT_EQ(f.size(), 15U);
    std::array<std::byte, 32> buffer;
    ASSERT_EQ(f.read_at(2, buffer), 13U);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(buffer.data()), 13),
              std::string("2abc6789\0\0end", 13));
    EXPECT_EQ(f.read_at(15, buffer), 0U);
    EXPECT_EQ(f.read_at(1000, buffer), 0U);
    EXPECT_EQ(f.position(), 10U);
    f.seek(4);
    EXPECT_EQ(read_text(f, 2), "bc");
    EXPECT_EQ(f.position(), 6U);
  });
  EXPECT_EQ(content(path("f")).size(), 15U);
}

TEST_P(file_io, many_fibers_read_at_once) {
  run([&] {
    constexpr std::size_t block = 4096;
    constexpr std::size_t blocks = 64;
    file f = file::open(path("f"), {.read = true, .write = true, .create = true});
    f.write_all(pattern(block * blocks));
    with_task_group([&](task_group& group) {
      for (std::size_t i = 0; i < blocks; ++i) {
        group.spawn([&f, i, block] {
          std::vector<std::byte> buffer(block);
          ASSERT_EQ(f.read_at(i * block, buffer), block);
          EXPECT_TRUE(buffer == pattern(block, i * block));
        });
      }
    });
  });
}

TEST_P(file_io, appending_goes_to_the_end_wherever_that_is) {
  fill(path("f"), "start ");
  run([&] {
    file a = file::open(path("f"), {.read = true, .append = true});
    file b = file::open(path("f"), {.append = true});
    a.write_all("one ");
    b.write_all("two ");
    a.write_all("three ");
    a.write_at(0, "four");
    EXPECT_EQ(a.position(), 0U);
    EXPECT_EQ(read_text(a, 6), "start ");
  });
  EXPECT_EQ(content(path("f")), "start one two three four");
}

TEST_P(file_io, open_options_mean_what_they_say) {
  fill(path("old"), "old content");
  run([&] {
    std::error_code ec;
    EXPECT_FALSE(file::open(path("none"), {}, ec).is_open());
    EXPECT_EQ(ec, std::errc::no_such_file_or_directory);
    EXPECT_FALSE(
        file::open(path("old"), {.write = true, .create = true, .exclusive = true}, ec).is_open());
    EXPECT_EQ(ec, std::errc::file_exists);
    EXPECT_TRUE(file::open(path("old"), {.write = true}, ec).is_open());
    EXPECT_FALSE(ec);
    EXPECT_EQ(content(path("old")), "old content");
    (void)file::open(path("old"), for_writing);
    EXPECT_EQ(content(path("old")), "");
    (void)file::open(path("new"), {.write = true, .create = true, .permissions = 0600});
    EXPECT_EQ(std::filesystem::status(path("new")).permissions(), std::filesystem::perms(0600));

    file read_only = file::open(path("old"));
    EXPECT_EQ(read_only.write_all("x", ec), 0U);
    EXPECT_EQ(ec, std::errc::bad_file_descriptor);
    const int flags = ::fcntl(read_only.native_handle(), F_GETFD);
    EXPECT_NE(flags & FD_CLOEXEC, 0);

    EXPECT_THROW((void)file::open(path("x"), {.read = false}), std::invalid_argument);
    EXPECT_THROW((void)file::open(std::string_view("a\0b", 3)), std::invalid_argument);
  });
}

TEST_P(file_io, errors_quote_the_path_and_name_the_call) {
  run([&] {
    try {
      (void)file::open(path("none"));
      FAIL();
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), std::errc::no_such_file_or_directory);
      EXPECT_NE(std::string(e.what()).find("file::open \"" + path("none") + '"'), std::string::npos)
          << e.what();
    }
    file directory = file::open(directory_.string());
    std::array<std::byte, 8> buffer;
    try {
      directory.read_some(buffer);
      FAIL();
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), std::errc::is_a_directory);
      EXPECT_NE(std::string(e.what()).find("file::read_some"), std::string::npos) << e.what();
    }
  });
}

TEST_P(file_io, full_disk_reports_its_count) {
  run([&] {
    file full = file::open("/dev/full", {.read = false, .write = true});
    std::size_t written = 77;
    try {
      full.write_all("x", written);
      FAIL();
    } catch (const write_error& e) {
      EXPECT_EQ(e.code(), std::errc::no_space_on_device);
      EXPECT_EQ(e.bytes_written(), 0U);
      EXPECT_EQ(written, 0U);
    }
  });
}

// A file size limit makes the kernel cut a write short first and refuse the rest then, as a full
// disk does.
TEST_P(file_io, short_write_goes_on_until_the_kernel_refuses) {
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  struct sigaction old_action {};
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGXFSZ, &ignore, &old_action);
  run([&] {
    file f = file::open(path("f"), for_writing);
    rlimit limit = before;
    limit.rlim_cur = 10'000;
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::error_code ec;
    const std::size_t written = f.write_all(pattern(65536), ec);
    ::setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_EQ(ec, std::errc::file_too_large);
    EXPECT_EQ(written, 10'000U);
    EXPECT_EQ(f.position(), 10'000U);
  });
  ::sigaction(SIGXFSZ, &old_action, nullptr);
  EXPECT_EQ(std::filesystem::file_size(path("f")), 10'000U);
}

TEST_P(file_io, uncached_data_come_through_the_ring) {
  run([&] {
    constexpr std::size_t total = std::size_t{1} << 20;
    file f = file::open(path("f"), {.read = true, .write = true, .create = true});
    f.write_all(pattern(total));
    f.sync();
    ::posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED);
    std::vector<std::byte> back(total);
    EXPECT_EQ(f.read_at(0, back), total);
    EXPECT_TRUE(back == pattern(total));
  });
}

/// A directory whose file system can say whether it would wait, or "". Not every one of a container's can.
std::string where_reads_need_not_wait(const std::string& first) {
  for (const std::string& directory : {first, std::string("/var/tmp"), std::string(".")}) {
    const file probe = file::adopt(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    char byte = 'x';
    const iovec part{&byte, 1};
    const bool is_memory = ::fcntl(probe.native_handle(), F_GET_SEALS) >= 0;  // which is read otherwise
    if (probe.is_open() && !is_memory && ::pwrite(probe.native_handle(), &byte, 1, 0) == 1 &&
        ::preadv2(probe.native_handle(), &part, 1, 0, RWF_NOWAIT) == 1) {
      return directory;
    }
  }
  return "";
}

// "cached file reads through the ring cost 1.3–5.6 µs against 0.8–0.9 by pread/preadv2(RWF_NOWAIT)"
TEST_P(file_io, what_is_in_the_page_cache_is_read_without_the_driver) {
  run([&] {
    const std::string directory = where_reads_need_not_wait(path("."));
    if (directory.empty()) {
      GTEST_SKIP() << "no file system here knows RWF_NOWAIT";
    }
    constexpr std::size_t total = std::size_t{1} << 20;
    file f = file::adopt(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    ASSERT_TRUE(f.is_open());
    f.write_all(pattern(total));
    std::vector<std::byte> back(total);
    EXPECT_EQ(f.read_at(0, back), total);
    const std::uint64_t before = stats().submissions;
    EXPECT_EQ(f.read_at(0, back), total);
    f.seek(0);
    EXPECT_EQ(f.read_some(back), total);
    EXPECT_TRUE(back == pattern(total));
    EXPECT_EQ(stats().submissions, before);
  });
}

TEST_P(file_io, a_file_that_is_memory_is_read_without_the_driver) {
  run([&] {
    constexpr std::size_t total = (std::size_t{1} << 20) + 123;
    file f = file::adopt(::memfd_create("aramid-file-test", MFD_CLOEXEC));
    ASSERT_TRUE(f.is_open());
    f.write_all(pattern(total));
    const std::uint64_t before = stats().submissions;
    std::vector<std::byte> back(total + 1);
    EXPECT_EQ(f.read_at(0, back), total);
    back.pop_back();
    EXPECT_TRUE(back == pattern(total));
    std::array<std::byte, 8> buffer;
    f.seek(total - 3);
    EXPECT_EQ(f.read_some(buffer), 3U);
    EXPECT_EQ(f.read_some(buffer), 0U);
    EXPECT_EQ(stats().submissions, before);
  });
}

TEST_P(file_io, a_file_that_is_memory_and_cannot_be_read_says_so) {
  run([&] {
    const int both = ::memfd_create("aramid-file-test", MFD_CLOEXEC);
    const file f = file::adopt(both);
    file only_to_write = file::open("/proc/self/fd/" + std::to_string(both), {.read = false, .write = true});
    std::array<std::byte, 8> buffer;
    std::error_code ec;
    EXPECT_EQ(only_to_write.read_at(0, buffer, ec), 0U);
    EXPECT_EQ(ec, std::errc::bad_file_descriptor);
  });
}

TEST_P(file_io, direct_io_of_aligned_buffers) {
  run([&] {
    constexpr std::size_t size = 65536;
    std::error_code ec;
    file f =
        file::open(path("f"), {.read = true, .write = true, .create = true, .direct = true}, ec);
    if (ec) {
      GTEST_SKIP() << "no O_DIRECT here: " << ec.message();
    }
    auto* const memory = static_cast<std::byte*>(std::aligned_alloc(4096, size));
    const std::span<std::byte> buffer(memory, size);
    const auto data = pattern(size);
    std::copy(data.begin(), data.end(), buffer.begin());
    f.write_at(0, buffer);
    std::fill(buffer.begin(), buffer.end(), std::byte{0});
    EXPECT_EQ(f.read_at(0, buffer), size);
    EXPECT_TRUE(std::equal(data.begin(), data.end(), buffer.begin()));
    std::free(memory);
  });
}

TEST_P(file_io, closed_and_moved_from_files_say_so) {
  run([&] {
    file f = file::open(path("f"), for_writing);
    file moved = std::move(f);
    moved.close();
    moved.close();
    std::array<std::byte, 8> buffer;
    for (file* closed : {&f, &moved}) {
      std::error_code ec;
      EXPECT_FALSE(closed->is_open());
      EXPECT_EQ(closed->read_some(buffer, ec), 0U);
      EXPECT_EQ(ec, errc::closed);
      EXPECT_EQ(closed->read_at(0, buffer, ec), 0U);
      EXPECT_EQ(ec, errc::closed);
      EXPECT_EQ(closed->write_all("x", ec), 0U);
      EXPECT_EQ(ec, errc::closed);
      EXPECT_EQ(closed->size(ec), 0U);
      EXPECT_EQ(ec, errc::closed);
      closed->sync(ec);
      EXPECT_EQ(ec, errc::closed);
      EXPECT_EQ(closed->native_handle(), -1);
      EXPECT_EQ(closed->release(), -1);
    }
  });
}

TEST_P(file_io, cancellation_is_seen_on_entry_and_the_position_stays) {
  fill(path("f"), "content");
  run([&] {
    file f = file::open(path("f"), {.read = true, .write = true});
    std::array<std::byte, 4> buffer;
    const auto comes_to_its_end_cancelled = [](auto fn) {
      cancel_scope scope;
      scope.cancel();
      return scope.run(fn);
    };
    EXPECT_FALSE(comes_to_its_end_cancelled([&] { f.read_some(buffer); }));
    EXPECT_FALSE(comes_to_its_end_cancelled([&] { f.write_all("lost"); }));
    EXPECT_FALSE(comes_to_its_end_cancelled([&] { (void)file::open(path("f")); }));
    EXPECT_EQ(f.position(), 0U);
  });
  EXPECT_EQ(content(path("f")), "content");
}

// A close that was interrupted has closed (man close): once more, and it would be somebody else's descriptor, or none.
TEST_P(file_io, a_close_that_is_interrupted_is_not_done_again) {
  run([&] {
    for (int i = 0; i != 1000; ++i) {  // the fake driver interrupts some
      file f = file::adopt(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      std::error_code ec;
      f.close(ec);
      ASSERT_FALSE(ec) << ec.message();
    }
  });
}

// The last of them is to the kernel where the descriptor stands.
TEST_P(file_io, offsets_that_no_file_has_are_refused) {
  run([&] {
    file f = file::open(path("f"), {.write = true, .create = true});
    f.write_all("content");
    for (const std::uint64_t offset : {std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
      std::array<std::byte, 4> buffer{};
      std::error_code ec;
      EXPECT_EQ(f.write_at(offset, "lost", ec), 0U);
      EXPECT_EQ(ec, std::errc::invalid_argument);
      EXPECT_EQ(f.read_at(offset, buffer, ec), 0U);
      EXPECT_EQ(ec, std::errc::invalid_argument);
      f.seek(offset);
      EXPECT_EQ(f.write_all("lost", ec), 0U);
      EXPECT_EQ(ec, std::errc::invalid_argument);
      EXPECT_EQ(f.read_some(buffer, ec), 0U);
      EXPECT_EQ(ec, std::errc::invalid_argument);
      EXPECT_EQ(f.position(), offset);
    }
  });
  EXPECT_EQ(content(path("f")), "content");
}

class fifo : public file_io {
protected:
  void SetUp() override {
    file_io::SetUp();
    ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  }
};
ARAMID_ON_EACH_DRIVER(fifo);

TEST_P(fifo, carries_bytes_and_close_wakes_its_reader) {
  run([&] {
    file in = file::open(path("fifo"));
    file out = file::open(path("fifo"), {.read = false, .write = true});
    std::array<char, 16> buffer;
    fiber<> writing = spawn([&] {
      until_waiting_in("file::read_some");
      out.write_all("through");
    });
    EXPECT_EQ(read_text(in, 7), "through");
    writing.join();

    std::error_code ec;
    fiber<> reading = spawn([&] { EXPECT_EQ(in.read_some(buffer, ec), 0U); });
    until_waiting_in("file::read_some");
    in.close();
    reading.join();
    EXPECT_EQ(ec, errc::closed);
  });
}

TEST_P(fifo, has_no_offsets) {
  run([&] {
    file both = file::adopt(::open(path("fifo").c_str(), O_RDWR | O_CLOEXEC));
    std::array<std::byte, 4> buffer{};
    std::error_code ec;
    EXPECT_EQ(both.write_at(0, "lost", ec), 0U);
    EXPECT_EQ(ec, std::errc::invalid_seek);
    both.write_all("kept");
    EXPECT_EQ(both.read_at(0, buffer, ec), 0U);
    EXPECT_EQ(ec, std::errc::invalid_seek);
    EXPECT_EQ(read_text(both, 4), "kept");
  });
}

TEST_P(fifo, open_does_not_wait_for_the_other_end) {
  run([&] {
    std::error_code ec;
    EXPECT_FALSE(file::open(path("fifo"), {.read = false, .write = true}, ec).is_open());
    EXPECT_EQ(ec, std::errc::no_such_device_or_address);
    EXPECT_TRUE(file::open(path("fifo")).is_open());
  });
}

TEST_P(fifo, read_can_be_cancelled_and_loses_nothing) {
  run([&] {
    file in = file::adopt(::open(path("fifo").c_str(), O_RDWR | O_CLOEXEC));
    std::array<char, 16> buffer;
    EXPECT_FALSE(try_with_timeout(10ms, [&] { in.read_some(buffer); }));
    in.write_all("late");
    EXPECT_EQ(read_text(in, 4), "late");
  });
}

// "SIGPIPE: MSG_NOSIGNAL covers sockets only, a ring write to a broken pipe kills"
TEST_P(fifo, write_to_a_broken_pipe_is_an_error_and_no_signal) {
  run([&] {
    file in = file::open(path("fifo"));
    file out = file::open(path("fifo"), {.read = false, .write = true});
    in.close();
    std::error_code ec;
    EXPECT_EQ(out.write_all("x", ec), 0U);
    EXPECT_EQ(ec, std::errc::broken_pipe);
  });
}

}  // namespace
