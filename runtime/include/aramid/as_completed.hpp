// Several fibers at once: waiting for any of them, for all, or taking them as they end.
//
//     std::vector<fiber<page>> fetching = …;
//     for (fiber<page>& each : as_completed(fetching)) {   // the first that is done comes first
//       show(each.join());                                 // does not wait
//     }
//
// None of these joins: a handle stands for its fiber until its `join`, which returns the result or throws the error. asyncio's and
// concurrent.futures' wait and as_completed; gather is `wait_all` and then the joins, or `with_task_group`.
#pragma once

#include <concepts>
#include <cstddef>
#include <iterator>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include <aramid/channel.hpp>
#include <aramid/detail/config.hpp>
#include <aramid/detail/end_case.hpp>
#include <aramid/detail/fiber_handle.hpp>
#include <aramid/detail/select_case.hpp>

namespace aramid::inline v0 {

namespace detail {

template <class T>
void as_handle(const fiber_handle<T>&);

}  // namespace detail

/// A `fiber<T>` or a `task<T>`, of any T.
template <class Handle>
concept joinable_handle = requires(std::remove_cvref_t<Handle>& handle) { detail::as_handle(handle); };

/// A range whose elements are handles that stay where they are.
template <class Range>
concept handle_range = std::ranges::forward_range<Range> && std::is_lvalue_reference_v<std::ranges::range_reference_t<Range>> &&
                       joinable_handle<std::ranges::range_reference_t<Range>>;

/// Waits until one of `handles` is done; which one, if there are several, is random.
/// Suspends: until then. Cancels: throws aramid::cancelled; the fibers are not affected.
/// Returns:  where that handle is.
/// Throws:   std::invalid_argument if the range is empty; std::logic_error if a handle stands for no fiber, or for the caller;
///           std::bad_alloc.
template <handle_range Range>
[[nodiscard]] std::ranges::borrowed_iterator_t<Range> wait_any(Range&& handles) {
  std::vector<detail::plain_end_case> cases;
  for (auto& each : handles) {
    cases.emplace_back(each, "wait_any");
  }
  std::vector<detail::select_case*> all;
  for (detail::plain_end_case& each : cases) {
    all.push_back(&each);
  }
  if (all.empty()) {
    throw std::invalid_argument("aramid: wait_any: there are no fibers to wait for");
  }
  return std::ranges::next(std::ranges::begin(handles), static_cast<std::ptrdiff_t>(detail::select_one(all)));
}

/// As above, for handles that are named. Returns: the place of one that is done, from 0. Throws: no std::bad_alloc.
template <joinable_handle... Handles>
  requires(sizeof...(Handles) > 0)
[[nodiscard]] std::size_t wait_any(Handles&... handles) {
  detail::plain_end_case cases[] = {detail::plain_end_case(handles, "wait_any")...};
  detail::select_case* all[sizeof...(Handles)];
  for (std::size_t i = 0; i != sizeof...(Handles); ++i) {
    all[i] = &cases[i];
  }
  return detail::select_one(all);
}

/// Waits until all of `handles` are done, in whatever way.
/// Suspends: until then. Cancels: throws aramid::cancelled; the fibers are not affected.
/// Throws:   std::logic_error as above.
template <handle_range Range>
void wait_all(Range&& handles) {
  for (auto& each : handles) {
    each.wait();
  }
}
template <joinable_handle... Handles>
void wait_all(Handles&... handles) {
  (handles.wait(), ...);
}

/// What `as_completed` returns: an input range of references to the handles. It may go before its end.
template <handle_range Range>
class completions {
public:
  using handle = std::remove_reference_t<std::ranges::range_reference_t<Range>>;

  explicit completions(Range& handles) {
    for (handle& each : handles) {
      handles_.push_back(&each);
    }
    // The fibers keep it, so that one which ends later finds it.
    ended_ = std::make_shared<channel<std::size_t>>(handles_.size());
    for (std::size_t i = 0; i != handles_.size(); ++i) {
      handles_[i]->on_done([ended = ended_, i] { (void)ended->try_send(i); });
    }
  }

  completions(const completions&) = delete;
  completions& operator=(const completions&) = delete;

  class iterator {
  public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = handle;
    using difference_type = std::ptrdiff_t;

    explicit iterator(completions& of) : of_(&of) { advance(); }

    [[nodiscard]] handle& operator*() const noexcept { return *current_; }

    /// Suspends: until one more is done. Cancels: throws aramid::cancelled; nothing has been skipped.
    iterator& operator++() {
      advance();
      return *this;
    }
    void operator++(int) { advance(); }

    friend bool operator==(const iterator& it, std::default_sentinel_t) noexcept { return it.current_ == nullptr; }

  private:
    void advance() { current_ = of_->next(); }

    completions* of_;
    handle* current_ = nullptr;
  };

  /// Suspends, cancels: as the iterator's step.
  [[nodiscard]] iterator begin() { return iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

private:
  handle* next() {
    if (given_ == handles_.size()) {
      return nullptr;
    }
    const std::size_t which = *ended_->receive();
    ++given_;
    return handles_[which];
  }

  std::vector<handle*> handles_;
  std::shared_ptr<channel<std::size_t>> ended_;
  std::size_t given_ = 0;
};

/// The handles in `handles`, in the order in which their fibers end. The handles must stay where they are meanwhile.
/// Throws: std::logic_error if one stands for no fiber; std::bad_alloc.
/// Threads: one at a time.
template <handle_range Range>
[[nodiscard]] completions<Range> as_completed(Range& handles) {
  return completions<Range>(handles);
}

}  // namespace aramid::inline v0
