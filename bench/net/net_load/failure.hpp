// What a server can do wrong, and the tally of it.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace net_load {

// not_stalled: a request that asked for a millisecond of CPU was answered in less.
enum class failure_kind : std::uint8_t { mismatch, reset, early_eof, unanswered, not_stalled };
inline constexpr std::size_t failure_kinds = 5;

/// One connection's end before its time.
class connection_failure : public std::runtime_error {
public:
  connection_failure(failure_kind kind, const std::string& what)
      : std::runtime_error(what), kind_(kind) {}
  [[nodiscard]] failure_kind kind() const noexcept { return kind_; }

private:
  failure_kind kind_;
};

/// The server cannot be reached at all (exit code 1).
class server_unreachable : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The run cannot be made as asked on this machine (exit code 2).
class bad_usage : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct failure_tally {
  std::uint64_t counts[failure_kinds] = {};
  std::vector<std::string> first;  // the first few, in words

  void add(const connection_failure& failure) {
    constexpr std::size_t enough = 5;
    ++counts[static_cast<std::size_t>(failure.kind())];
    if (first.size() < enough) {
      first.emplace_back(failure.what());
    }
  }

  [[nodiscard]] std::uint64_t of(failure_kind kind) const noexcept {
    return counts[static_cast<std::size_t>(kind)];
  }

  [[nodiscard]] std::uint64_t total() const noexcept {
    std::uint64_t sum = 0;
    for (const std::uint64_t count : counts) {
      sum += count;
    }
    return sum;
  }
};

}  // namespace net_load
