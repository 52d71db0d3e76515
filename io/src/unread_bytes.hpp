// Bytes that a read has taken from the kernel and could not deliver: the next reads of that stream begin with them.
//
// They are put back when a read fails, which may be because there is no memory, and then there may be none to keep them in. They are lost then, and
// a stream with a hole must not pass for a whole one: from there on every read is told. So `empty` says no, which sends reads here.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <system_error>

#include <aramid/io/error.hpp>

namespace aramid::inline v0::detail {

/// Threads: one at a time, the stream's reader.
class unread_bytes {
public:
  /// Whether a read may ask the kernel.
  [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }

  /// Sets `ec` if some were lost, again and again.
  void check(std::error_code& ec) const noexcept {
    if (memory_ == nullptr && !empty()) {
      ec = io::errc::bytes_lost;
    }
  }

  /// As many as there are and fit. Returns: how many. Fails as `check`.
  std::size_t take(std::span<std::byte> into, std::error_code& ec) noexcept {
    check(ec);
    if (memory_ == nullptr) {
      return 0;
    }
    const std::size_t count = std::min(into.size(), end_ - begin_);
    if (count != 0) {
      std::memcpy(into.data(), memory_.get() + begin_, count);
    }
    begin_ += count;
    if (empty()) {
      memory_.reset();
    }
    return count;
  }

  /// The first `count` bytes of `parts`. There are none here.
  void put_back(std::span<const std::span<std::byte>> parts, std::size_t count) noexcept {
    if (count == 0) {
      return;
    }
    memory_.reset(new (std::nothrow) std::byte[count]);
    begin_ = 0;
    end_ = count;
    if (memory_ == nullptr) {
      return;
    }
    std::byte* to = memory_.get();
    for (const std::span<std::byte> each : parts) {
      const std::span<std::byte> part = each.first(std::min(each.size(), count));
      to = std::copy(part.begin(), part.end(), to);
      count -= part.size();
    }
  }

private:
  std::unique_ptr<std::byte[]> memory_;  // nullptr with bytes in it: they are lost
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace aramid::inline v0::detail
