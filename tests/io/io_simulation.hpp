// A simulation (tests/runtime/simulation.hpp) with I/O: fake drivers under its clock and a seed of their own.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <aramid/io/tcp.hpp>

#include "io/src/fake/fake_driver.hpp"
#include "tests/runtime/simulation.hpp"

namespace aramid::test {

class io_simulation : public simulation {
public:
  io_simulation(std::uint64_t seed, unsigned workers) : simulation(seed, workers), seed_(seed) {
    let_peers_help();
    let_time_pass();
  }

  /// Spawns the root, on the fake drivers.
  template <class Fn>
  auto spawn(Fn fn) {
    return simulation::spawn([this, fn = std::move(fn)]() mutable {
      being_made = this;
      (void)detail::driver_for_io(&make);
      return fn();
    });
  }

  /// The same for the same run.
  [[nodiscard]] std::uint64_t trace() const {
    std::uint64_t sum = stats().switches;
    for (const detail::fake_driver* each : fakes_) {
      sum = sum * 31 + each->trace();
    }
    return sum;
  }

private:
  static std::vector<std::unique_ptr<driver>> make(unsigned count, std::string_view) {
    std::vector<std::unique_ptr<driver>> made;
    for (unsigned i = 0; i != count; ++i) {
      auto one = std::make_unique<detail::fake_driver>(being_made->seed_ * 64 + i, &being_made->now());
      being_made->fakes_.push_back(one.get());
      made.push_back(std::move(one));
    }
    return made;
  }

  bool io_able(unsigned worker) override { return worker < fakes_.size() && fakes_[worker]->able(); }
  time_point io_next(unsigned worker) override { return worker < fakes_.size() ? fakes_[worker]->next() : time_point::max(); }

  static inline io_simulation* being_made = nullptr;

  const std::uint64_t seed_;
  std::vector<detail::fake_driver*> fakes_;  // the runtime's
};

/// Two ends that only the kernel's memory lies between, so that a run can be repeated.
inline std::pair<io::tcp_stream, io::tcp_stream> make_unix_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw std::system_error(errno, std::system_category(), "socketpair");
  }
  return {io::tcp_stream::adopt(ends[0]), io::tcp_stream::adopt(ends[1])};
}

}  // namespace aramid::test
