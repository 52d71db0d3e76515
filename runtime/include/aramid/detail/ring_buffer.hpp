// A bounded FIFO of objects in memory that is allocated once. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include <aramid/detail/config.hpp>

namespace aramid::inline v0::detail {

template <class T>
class ring_buffer {
public:
  /// Throws: std::length_error, std::bad_alloc.
  explicit ring_buffer(std::size_t capacity) : capacity_(capacity) {
    if (capacity > PTRDIFF_MAX / sizeof(T)) {
      throw std::length_error("aramid::channel: the capacity is too large");
    }
    if (capacity != 0) {
      items_ = std::allocator<T>().allocate(capacity);
    }
  }

  ~ring_buffer() {
    while (!empty()) {
      std::destroy_at(items_ + first_);
      advance();
    }
    if (items_ != nullptr) {
      std::allocator<T>().deallocate(items_, capacity_);
    }
  }

  ring_buffer(const ring_buffer&) = delete;
  ring_buffer& operator=(const ring_buffer&) = delete;

  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] bool full() const noexcept { return size_ == capacity_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  /// Needs room.
  void push(T&& item) noexcept {
    std::size_t last = first_ + size_;
    last -=
        last >= capacity_ ? capacity_ : 0;  // a comparison: a division costs more than all the rest
    std::construct_at(items_ + last, std::move(item));
    ++size_;
  }

  /// Moves the oldest item into `into`. Needs one.
  void pop(std::optional<T>& into) noexcept {
    T& item = items_[first_];
    into.emplace(std::move(item));
    std::destroy_at(&item);
    advance();
  }

private:
  void advance() noexcept {
    first_ = first_ + 1 == capacity_ ? 0 : first_ + 1;
    --size_;
  }

  T* items_ = nullptr;
  std::size_t capacity_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

}  // namespace aramid::inline v0::detail
