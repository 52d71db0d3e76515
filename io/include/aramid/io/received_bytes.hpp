// What tcp_stream::receive gives: bytes that came, in memory that was lent.
//
//     while (io::received_bytes bytes = stream.receive()) {
//       stream.write_all(bytes);
//     }
//
// A connection on which nothing comes holds no buffer: the kernel takes one, of those that lie ready for all connections of a worker,
// when there is something to put in (io/src/uring/lent_buffers.hpp).
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0 {

namespace detail {
class lent_buffers;
ARAMID_API void give_back(lent_buffers* lender, std::byte* buffer) noexcept;
}  // namespace detail

namespace io {

/// Bytes in lent memory, given back at the end of its life. Moves, does not copy; a contiguous range, so it is taken where a
/// std::span<const std::byte> is. May be kept for as long as one likes, also longer than its stream and its runtime: while many are kept, others
/// get theirs from the heap.
/// Threads: as a std::string; given back from any.
class ARAMID_API received_bytes {
public:
  /// Nothing.
  received_bytes() noexcept = default;
  received_bytes(received_bytes&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        lender_(std::exchange(other.lender_, nullptr)) {}
  received_bytes& operator=(received_bytes&& other) noexcept {
    received_bytes taken(std::move(other));
    std::swap(data_, taken.data_);
    std::swap(size_, taken.size_);
    std::swap(lender_, taken.lender_);
    return *this;
  }
  ~received_bytes() {
    if (data_ != nullptr) {
      detail::give_back(lender_, data_);
    }
  }

  /// Whether there is a byte: not so at the end of the stream.
  [[nodiscard]] explicit operator bool() const noexcept { return size_ != 0; }

  [[nodiscard]] const std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] const std::byte* begin() const noexcept { return data_; }
  [[nodiscard]] const std::byte* end() const noexcept { return data_ + size_; }

  /// The same bytes as text, for as long as this lives.
  [[nodiscard]] std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), size_}; }

  /// For the library: takes `data` over, from `lender`, or from malloc where that is null.
  received_bytes(std::byte* data, std::size_t size, detail::lent_buffers* lender) noexcept : data_(data), size_(size), lender_(lender) {}

private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  detail::lent_buffers* lender_ = nullptr;
};

}  // namespace io
}  // namespace aramid::inline v0
