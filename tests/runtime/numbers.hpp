// Inputs for tests. (std::views::iota would do, but clang 14 does not compile libstdc++ 12's views.)
#pragma once

#include <cstddef>
#include <functional>
#include <iterator>
#include <utility>

namespace aramid::test {

/// The numbers from `first` up to `last`, which is not among them; `asked(n)` is called when one is looked at.
class numbers {
public:
  explicit numbers(int first, int last, std::function<void(int)> asked = nullptr)
      : first_(first), last_(last), asked_(std::move(asked)) {}

  class iterator {
  public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = int;
    using difference_type = std::ptrdiff_t;

    iterator(const numbers& of, int at) : of_(&of), at_(at) {}

    int operator*() const {
      if (of_->asked_) {
        of_->asked_(at_);
      }
      return at_;
    }
    iterator& operator++() {
      ++at_;
      return *this;
    }
    void operator++(int) { ++at_; }

    friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.is_at_end(); }

  private:
    [[nodiscard]] bool is_at_end() const { return at_ == of_->last_; }

    const numbers* of_;
    int at_;
  };

  [[nodiscard]] iterator begin() const { return {*this, first_}; }
  [[nodiscard]] std::default_sentinel_t end() const { return {}; }

private:
  int first_;
  int last_;
  std::function<void(int)> asked_;
};

}  // namespace aramid::test
