// What fiber_pool::map and map_unordered return: a range that spawns as it is read.
//
// A step: (1) as long as there is an input and the pool has a place, a fiber is begun for it; if none of the mapping's own is in hand, it waits
// for the place. (2) It waits for one of its fibers: the oldest, or whichever ends first. (3) It joins that one. What is waited for stays
// in hand until it has been joined, so a step that is cancelled can be taken again.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <aramid/channel.hpp>
#include <aramid/detail/config.hpp>
#include <aramid/detail/fiber_handle.hpp>
#include <aramid/task_group.hpp>

namespace aramid::inline v0::detail {

/// The tasks in hand, the oldest first.
template <class T>
class in_order {
public:
  explicit in_order(std::size_t) {}

  /// Begins a task, by `spawn()`. What throws leaves nothing behind.
  template <class Spawn>
  void add(Spawn spawn) {
    tasks_.emplace_back();
    try {
      tasks_.back() = spawn();
    } catch (...) {
      tasks_.pop_back();
      throw;
    }
  }

  [[nodiscard]] bool empty() const noexcept { return tasks_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return tasks_.size(); }

  /// The task to be joined next; the same one until `joined`.
  [[nodiscard]] task<T>& next() { return tasks_.front(); }
  void joined() noexcept { tasks_.pop_front(); }

  template <class Fn>
  void for_each(Fn fn) noexcept {
    for (task<T>& each : tasks_) {
      fn(each);
    }
  }

private:
  std::deque<task<T>> tasks_;
};

/// The tasks in hand, each in a slot whose number comes when its fiber has ended.
template <class T>
class by_completion {
public:
  explicit by_completion(std::size_t limit) : ended_(std::make_shared<channel<std::size_t>>(limit)) {}

  template <class Spawn>
  void add(Spawn spawn) {
    if (free_.empty()) {
      free_.reserve(slots_.size() + 1);
      slots_.emplace_back();
      free_.push_back(slots_.size() - 1);
    }
    const std::size_t slot = free_.back();
    slots_[slot] = spawn();
    try {
      // Not the mapping's channel alone: a fiber calls this after it has woken those who join it. There is room for all.
      slots_[slot].on_done([ended = ended_, slot] { (void)ended->try_send(slot); });
    } catch (...) {
      cancel_and_join_fiber(handle_access::fiber_of(slots_[slot], "map"));
      throw;
    }
    free_.pop_back();
  }

  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] std::size_t size() const noexcept { return slots_.size() - free_.size(); }

  [[nodiscard]] task<T>& next() {
    if (!current_) {
      current_ = ended_->receive();
    }
    return slots_[*current_];
  }
  void joined() noexcept { free_.push_back(*std::exchange(current_, std::nullopt)); }

  template <class Fn>
  void for_each(Fn fn) noexcept {
    for (task<T>& each : slots_) {
      if (each.joinable()) {
        fn(each);
      }
    }
  }

private:
  std::shared_ptr<channel<std::size_t>> ended_;
  std::vector<task<T>> slots_;
  std::vector<std::size_t> free_;
  std::optional<std::size_t> current_;
};

/// `Inputs` is a range, or a reference to one. (No std::views: clang 14 does not compile those of libstdc++ 12.)
template <class Pool, class Inputs, class Fn, template <class> class Order>
class mapping {
  using input = std::ranges::range_value_t<Inputs>;
  using returned = std::invoke_result_t<Fn&, input>;

public:
  using result = std::conditional_t<std::is_void_v<returned>, std::monostate, returned>;

  mapping(Pool& pool, Inputs&& inputs, Fn fn)
      : pool_(pool), inputs_(std::forward<Inputs>(inputs)), fn_(std::move(fn)), tasks_(pool.limit()) {}

  mapping(const mapping&) = delete;
  mapping& operator=(const mapping&) = delete;

  /// Cancels and joins what is in hand. Suspends: until that has ended. Cancels: never (shielded).
  ~mapping() {
    tasks_.for_each([](auto& each) { each.cancel(); });
    tasks_.for_each([](auto& each) { cancel_and_join_fiber(handle_access::fiber_of(each, "map")); });
  }

  class iterator {
  public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = std::remove_cvref_t<result>;
    using difference_type = std::ptrdiff_t;

    explicit iterator(mapping& of) : of_(&of) { ++*this; }

    /// The result is the loop's own: it may be moved from.
    [[nodiscard]] auto& operator*() const noexcept { return of_->current_->look_at(); }

    iterator& operator++() {
      of_->step();
      return *this;
    }
    void operator++(int) { ++*this; }

    friend bool operator==(const iterator& it, std::default_sentinel_t) noexcept { return it.is_over(); }

  private:
    [[nodiscard]] bool is_over() const noexcept { return of_->over_; }

    mapping* of_;
  };

  [[nodiscard]] iterator begin() { return iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

private:
  struct holder {
    result value;
    auto& look_at() noexcept { return value; }
  };

  void step() {
    current_.reset();
    begin_more();
    if (tasks_.empty()) {
      over_ = true;
      return;
    }
    task<result>& next = tasks_.next();
    try {
      current_.emplace(holder{next.join()});
    } catch (...) {
      if (!next.joinable()) {
        tasks_.joined();  // it was the fiber that threw, and not a cancellation of ours
      }
      throw;
    }
    tasks_.joined();
  }

  void begin_more() {
    // The input is asked first: that may wait, and a place that is held meanwhile would be missed.
    while (tasks_.size() != pool_.limit() && has_input()) {
      if (tasks_.empty()) {
        pool_.places_.acquire();
      } else if (!pool_.places_.try_acquire()) {
        return;
      }
      typename Pool::place taken(pool_.places_);
      tasks_.add([&] {
        return pool_.start(
            std::move(taken),
            [this](input of) -> result {
              if constexpr (std::is_void_v<returned>) {
                std::invoke(fn_, std::move(of));
                return {};
              } else {
                return std::invoke(fn_, std::move(of));
              }
            },
            input(**place_));
      });
      used_ = true;
    }
  }

  /// Goes on to the next input if the one at `place_` has been given to a fiber. A step there that throws, or is cancelled, is taken again.
  bool has_input() {
    if (!place_) {
      place_.emplace(std::ranges::begin(inputs_));
    } else if (used_) {
      ++*place_;
    }
    used_ = false;
    return *place_ != std::ranges::end(inputs_);
  }

  Pool& pool_;
  Inputs inputs_;
  Fn fn_;
  std::optional<std::ranges::iterator_t<Inputs>> place_;
  bool used_ = false;  // the input there
  bool over_ = false;
  std::optional<holder> current_;
  Order<result> tasks_;  // the first to go: its fibers use what is above
};

}  // namespace aramid::inline v0::detail
