// file_read: reads blocks of a file at random offsets, in fibers that each read one after the other as one would with
// pread, and says how many a second, what one costs in CPU time and how long it takes. What fio's randread does
// with numjobs or iodepth; ../compare_file.py runs the two by turns.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <aramid/fiber.hpp>
#include <aramid/io/file.hpp>
#include <aramid/run.hpp>
#include <aramid/task_group.hpp>

#include "../net/net_load/histogram.hpp"

namespace {

using net_load::histogram;

enum exit_code : int { all_well = 0, read_failed = 1, wrong_usage = 2 };

constexpr std::size_t page_bytes = 4096;  // what O_DIRECT may ask a buffer to be aligned to

struct settings {
  std::string path;
  unsigned depth = 1;
  unsigned workers = 1;
  std::size_t block_bytes = page_bytes;
  double warmup_seconds = 0.2;
  double seconds = 1.0;
  unsigned time_every = 16;
  std::uint64_t seed = 1;
  bool direct = false;
  bool json = false;
};

struct window {
  std::chrono::steady_clock::time_point at;
  double cpu_seconds;
  std::uint64_t reads;
  std::uint64_t submissions;
};

struct figures {
  double seconds;
  double cpu_seconds;  // of all threads, the kernel's own for this process among them
  std::uint64_t reads;
  std::uint64_t submissions;  // reads, and parts of reads, that went through the driver
  histogram latency_ns;
  std::string driver;
};

/// Blocks, not bytes, drawn evenly enough: as cheap as fio's.
class random_blocks {
public:
  random_blocks(std::uint64_t seed, std::uint64_t blocks) : state_(seed * 0x9e3779b97f4a7c15 | 1), blocks_(blocks) {}

  std::uint64_t next() noexcept {  // xorshift64 (Marsaglia 2003); the high bits are the better ones
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return ((state_ >> 32) * blocks_) >> 32;
  }

private:
  std::uint64_t state_;
  const std::uint64_t blocks_;
};

enum class phase : int { warmup, measured, over };

/// One fiber's reads. On cache lines of its own: with several workers neighbours run at once.
struct alignas(128) reader {
  std::atomic<std::uint64_t> reads{0};  // the fiber; the one that measures looks
  histogram latency_ns;                 // the fiber

  void run(aramid::io::file& from, const settings& wanted, std::uint64_t blocks, std::uint64_t seed, const std::atomic<phase>& now) {
    const std::unique_ptr<std::byte[], aligned_delete> memory(
        static_cast<std::byte*>(::operator new[](wanted.block_bytes, std::align_val_t(page_bytes))));
    const std::span<std::byte> buffer(memory.get(), wanted.block_bytes);
    random_blocks at(seed, blocks);
    unsigned untimed = wanted.time_every;
    for (;;) {
      const phase current = now.load(std::memory_order_relaxed);
      if (current == phase::over) {
        return;
      }
      const std::uint64_t offset = at.next() * wanted.block_bytes;
      std::size_t got = 0;
      if (wanted.time_every != 0 && --untimed == 0) {
        untimed = wanted.time_every;
        const auto start = std::chrono::steady_clock::now();
        got = from.read_at(offset, buffer);
        if (current == phase::measured) {
          latency_ns.record(static_cast<std::uint64_t>((std::chrono::steady_clock::now() - start).count()));
        }
      } else {
        got = from.read_at(offset, buffer);
      }
      if (got != buffer.size()) {
        throw std::runtime_error(wanted.path + ": a read ended early: has it been cut?");
      }
      reads.store(reads.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
  }

private:
  struct aligned_delete {
    void operator()(std::byte* memory) const noexcept { ::operator delete[](memory, std::align_val_t(page_bytes)); }
  };
};

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto in_seconds = [](const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; };
  return in_seconds(used.ru_utime) + in_seconds(used.ru_stime);
}

window look(const std::vector<std::unique_ptr<reader>>& readers) {
  std::uint64_t reads = 0;
  for (const auto& one : readers) {
    reads += one->reads.load(std::memory_order_relaxed);
  }
  return {std::chrono::steady_clock::now(), cpu_seconds(), reads, aramid::stats().submissions};
}

figures measure(const settings& wanted) {
  using seconds = std::chrono::duration<double>;
  aramid::io::file from = aramid::io::file::open(wanted.path, {.direct = wanted.direct});
  const std::uint64_t blocks = from.size() / wanted.block_bytes;
  if (blocks == 0 || blocks > UINT32_MAX) {
    throw std::runtime_error(wanted.path + ": it has " + std::to_string(blocks) + " blocks");
  }
  std::atomic<phase> now{phase::warmup};
  std::vector<std::unique_ptr<reader>> readers;
  for (unsigned i = 0; i < wanted.depth; ++i) {
    readers.push_back(std::make_unique<reader>());
  }
  window begin{};
  window end{};
  aramid::with_task_group([&](aramid::task_group& group) {
    for (unsigned i = 0; i < wanted.depth; ++i) {
      group.spawn([&, i] { readers[i]->run(from, wanted, blocks, wanted.seed + i, now); });
    }
    const auto sleep = [](double time) {
      aramid::this_fiber::sleep_for(std::chrono::duration_cast<aramid::clock::duration>(seconds(time)));
    };
    sleep(wanted.warmup_seconds);
    now.store(phase::measured, std::memory_order_relaxed);
    begin = look(readers);
    sleep(wanted.seconds);
    end = look(readers);
    now.store(phase::over, std::memory_order_relaxed);
  });
  figures taken{.seconds = seconds(end.at - begin.at).count(),
                .cpu_seconds = end.cpu_seconds - begin.cpu_seconds,
                .reads = end.reads - begin.reads,
                .submissions = end.submissions - begin.submissions,
                .latency_ns = {},
                .driver = std::string(aramid::stats().driver)};
  for (const auto& one : readers) {
    taken.latency_ns.add(one->latency_ns);
  }
  return taken;
}

void print(const settings& wanted, const figures& taken) {
  const double reads = static_cast<double>(std::max<std::uint64_t>(taken.reads, 1));
  const double rate = static_cast<double>(taken.reads) / taken.seconds;
  const double cpu_us = taken.cpu_seconds * 1e6 / reads;
  const double share = static_cast<double>(taken.submissions) / reads;
  const auto us = [&](double quantile) { return static_cast<double>(taken.latency_ns.quantile(quantile)) / 1e3; };
  std::printf(wanted.json ? "{\"reads_per_second\": %.1f, \"cpu_us_per_read\": %.4f, \"submissions_per_read\": %.4f, "
                            "\"latency_us\": {\"p50\": %.3f, \"p99\": %.3f, \"p99_9\": %.3f}, \"driver\": \"%s\"}\n"
                          : "  reads/s  %.0f\n  CPU      %.3f us a read\n  driver   %.2f submissions a read\n"
                            "  latency  p50 %.1f us   p99 %.1f us   p99.9 %.1f us   (%s)\n",
              rate, cpu_us, share, us(0.50), us(0.99), us(0.999), taken.driver.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  settings wanted;
  CLI::App app("Reads blocks of a file at random offsets, each fiber one after the other.\n"
               "Exit code: 0 all well, 1 the file cannot be read, 2 bad usage.");
  app.add_option("file", wanted.path, "what to read")->required()->check(CLI::ExistingFile);
  app.add_option("--depth", wanted.depth, "fibers that read")->capture_default_str()->check(CLI::Range(1, 65536));
  app.add_option("--workers", wanted.workers, "threads; 0 is one per CPU")->capture_default_str()->check(CLI::Range(0, 4096));
  app.add_option("--block", wanted.block_bytes, "bytes of a read")->capture_default_str()->check(CLI::Range(512, 64 << 20));
  app.add_option("--seconds", wanted.seconds, "length of the measured window")->capture_default_str()->check(CLI::Range(0.01, 3600.0));
  app.add_option("--warmup", wanted.warmup_seconds, "reads before the window, not counted")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 3600.0));
  app.add_option("--time-every", wanted.time_every, "take the time of one read in so many of a fiber; 0: of none")
      ->capture_default_str();
  app.add_option("--seed", wanted.seed, "seed of the offsets")->capture_default_str();
  app.add_flag("--direct", wanted.direct, "past the page cache (O_DIRECT)");
  app.add_flag("--json", wanted.json, "print the figures as JSON");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? all_well : wrong_usage;
  }
  try {
    print(wanted, aramid::run([&] { return measure(wanted); }, {.workers = wanted.workers}));
    return all_well;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "file_read: %s\n", error.what());
    return read_failed;
  }
}
