// At most so many fibers at a time: for work that comes in larger numbers than what it works on can bear.
//
//     fiber_pool pool(100);
//     for (const page& each : pool.map(urls, fetch)) { … }     // in the order of the urls, as many as there may be
//
//     task<int> one = pool.submit(compute, 42);                // suspends while the pool is full
//     use(one.join());
//
// gevent's Pool, concurrent.futures' executors. What is submitted runs on fibers, on all cores; for calls that block their thread there
// is `blocking`.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <aramid/as_completed.hpp>
#include <aramid/detail/config.hpp>
#include <aramid/detail/fiber_handle.hpp>
#include <aramid/detail/mapping.hpp>
#include <aramid/semaphore.hpp>
#include <aramid/task_group.hpp>

namespace aramid::inline v0 {

/// Owns the fibers of what is submitted to it. A failure is the task's, whose `join` rethrows it, and nobody else's; if the task is dropped
/// without having been joined, it is logged.
/// Threads: `submit` and its kin, `cancel` and what asks from any fiber; made and destroyed by one fiber (or plain thread). A fiber of the
///          pool that submits to it may wait for itself, if all others do so too.
class fiber_pool {
public:
  /// Throws: std::invalid_argument if `limit` is 0, or more than a semaphore has permits.
  explicit fiber_pool(std::size_t limit) : limit_(checked(limit)), places_(static_cast<std::ptrdiff_t>(limit)) {}

  /// Cancels and joins what still runs.
  /// Suspends: until all of it has ended. Cancels: never (shielded).
  ~fiber_pool() = default;

  fiber_pool(const fiber_pool&) = delete;
  fiber_pool& operator=(const fiber_pool&) = delete;

  /// Runs `fn(args…)`, copied as std::thread copies, on a fiber of the pool.
  /// Suspends: while `limit()` fibers of it live. Cancels: throws aramid::cancelled; nothing has been submitted.
  /// Throws:   std::bad_alloc; what copying throws; std::logic_error if the pool was made outside of any runtime.
  template <class Fn, class... Args>
  task<detail::spawn_result<Fn, Args...>> submit(Fn&& fn, Args&&... args) {
    places_.acquire();
    return start(place(places_), std::forward<Fn>(fn), std::forward<Args>(args)...);
  }

  /// As `submit`, if the pool is not full. Suspends: never. Returns: nullopt if it is; `fn` and `args` are then unchanged.
  template <class Fn, class... Args>
  std::optional<task<detail::spawn_result<Fn, Args...>>> try_submit(Fn&& fn, Args&&... args) {
    if (!places_.try_acquire()) {
      return std::nullopt;
    }
    return start(place(places_), std::forward<Fn>(fn), std::forward<Args>(args)...);
  }

  /// The results of `fn(input)` for each of `inputs`, in their order, as an input range. Lazy: inputs are taken, one for each free place
  /// of the pool, as results are asked for; so there are never more than `limit()` of them in hand, however many come. `inputs` is referred to, or
  /// taken over if it is a temporary. A fiber gets a copy of its input; `fn` is shared by them, and must stand being called by several at once. Inputs that have to be waited for (a channel)
  /// hold results back until the pool is full or they end. The range must go before the pool does; if it goes before its end, it cancels and joins what it has begun.
  /// Suspends: in begin() and at each step, until the next result is there.
  /// Cancels:  there, throws aramid::cancelled; no result is lost.
  /// Throws:   there, what `fn` threw for that input (the next step goes on with the next), and what `inputs` throws.
  /// Returns:  a range of what `fn` returns; of std::monostate where that is nothing.
  template <std::ranges::input_range Inputs, class Fn>
  [[nodiscard]] auto map(Inputs&& inputs, Fn&& fn) {
    return mapping<Inputs, Fn, detail::in_order>(*this, std::forward<Inputs>(inputs), std::forward<Fn>(fn));
  }

  /// As `map`, but in the order in which the results come.
  template <std::ranges::input_range Inputs, class Fn>
  [[nodiscard]] auto map_unordered(Inputs&& inputs, Fn&& fn) {
    return mapping<Inputs, Fn, detail::by_completion>(*this, std::forward<Inputs>(inputs), std::forward<Fn>(fn));
  }

  /// Waits until nothing that was submitted runs any more.
  /// Suspends: until then. Cancels: throws aramid::cancelled; the fibers are not affected.
  void join() { fibers_.join(); }

  /// Cancels all that runs, and all to come. Suspends: never.
  void cancel() noexcept { fibers_.cancel(); }

  /// Fibers that have not ended.
  [[nodiscard]] std::size_t size() const noexcept { return fibers_.size(); }
  [[nodiscard]] std::size_t limit() const noexcept { return limit_; }

private:
  template <class Pool, class Inputs, class Fn, template <class> class Order>
  friend class detail::mapping;

  template <class Inputs, class Fn, template <class> class Order>
  using mapping = detail::mapping<fiber_pool, Inputs, std::decay_t<Fn>, Order>;

  /// A permit. It goes with the callable, which is destroyed whether it has run or not.
  class place {
  public:
    explicit place(counting_semaphore<>& of) noexcept : of_(&of) {}
    place(place&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
    place& operator=(place&&) = delete;
    ~place() {
      if (of_ != nullptr) {
        of_->release();
      }
    }

  private:
    counting_semaphore<>* of_;
  };

  static std::size_t checked(std::size_t limit) {
    if (limit == 0 || limit > static_cast<std::size_t>(counting_semaphore<>::max())) {
      throw std::invalid_argument("aramid: fiber_pool: a limit of " + std::to_string(limit));
    }
    return limit;
  }

  template <class Fn, class... Args>
  task<detail::spawn_result<Fn, Args...>> start(place taken, Fn&& fn, Args&&... args) {
    return fibers_.spawn(
        [taken = std::move(taken)](auto&& call, auto&&... with) -> decltype(auto) {
          return std::invoke(std::forward<decltype(call)>(call), std::forward<decltype(with)>(with)...);
        },
        std::forward<Fn>(fn), std::forward<Args>(args)...);
  }

  const std::size_t limit_;
  counting_semaphore<> places_;
  task_group fibers_{on_error::isolate};
};

}  // namespace aramid::inline v0
