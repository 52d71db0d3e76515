// The threads behind `blocking`, and behind files where the driver has no other way. One call:
//
//   1. The fiber begins a wait and queues the call, under the lock: with its token, and lying in its frame. If a thread is idle one is
//      woken, else one is made while there are fewer than the limit.
//   2. A thread takes it out of the queue (running), and runs it without the lock.
//   3. Under the lock again: done, and the token is claimed. The unlock is the thread's last touch of the call; then it delivers.
//   4. The fiber's wait ends by 3, or by a cancellation. Then, under the lock, it finds the call
//        queued     and takes it out: it never runs
//        running    and waits again, with another token that nothing but 3 claims; before that it asks the call to stop
//        done       as if it had been woken by 3, whose claim has lost
//
// A thread that has been idle for ten seconds ends; the next one to do so, or the end of the runtime, joins it. The lock is held
// for a few instructions by either side, but for the making of a thread (20 µs).
#pragma once

#include <condition_variable>
#include <cstddef>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <aramid/blocking.hpp>
#include <aramid/park.hpp>

namespace aramid::inline v0::detail {

class runtime_core;

class offload_pool {
public:
  struct names {
    const char* wait;            // what the fiber waits for, in dumps
    const char* cancelled_wait;  // and when it has been cancelled meanwhile
    const char* inside;          // where the thread is, in the log
    const char* threads;         // at most 15 characters
  };
  offload_pool(runtime_core& core, std::size_t limit, names called) noexcept : core_(core), limit_(limit), called_(called) {}
  ~offload_pool() { stop(); }

  offload_pool(const offload_pool&) = delete;
  offload_pool& operator=(const offload_pool&) = delete;

  /// Steps 1 and 4, by a fiber of the runtime.
  void call(offloaded& what);

  /// A line for each call that is running.
  [[nodiscard]] std::vector<std::string> running() const;

  /// Whether any call is queued or running.
  [[nodiscard]] bool busy() const;
  [[nodiscard]] std::size_t threads() const;

  /// Ends the threads. There are no calls any more.
  void stop() noexcept;

private:
  struct call_list {
    offload_place* first = nullptr;
    offload_place* last = nullptr;
    void push(offload_place& call) noexcept;
    void remove(offload_place& call) noexcept;
  };
  using thread_list = std::list<std::thread>;

  void queue(offloaded& what);
  void start_thread();
  static void join_all(thread_list& threads) noexcept;
  void serve(thread_list::iterator self) noexcept;
  void run(offloaded& what, std::unique_lock<std::mutex>& lock) noexcept;
  bool wait_for_call(std::unique_lock<std::mutex>& lock) noexcept;

  runtime_core& core_;
  const std::size_t limit_;
  const names called_;

  mutable std::mutex lock_;  // guards everything below
  std::condition_variable something_;
  call_list queued_;
  call_list running_;
  thread_list threads_;
  thread_list ended_;        // to be joined
  std::size_t idle_ = 0;     // threads that wait, or are about to, and have not been woken
  std::size_t signals_ = 0;  // those that have
  bool stopping_ = false;
};

}  // namespace aramid::inline v0::detail
