// The rows of docs/coming_from_threads.md.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/aramid.hpp>

#include "docs_fixture.hpp"

using namespace aramid;
using namespace std::chrono_literals;

namespace {

class coming_from_threads : public test::runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, coming_from_threads, test::few_or_many);

class coming_from_threads_run : public test::leaves_nothing {};

int square(int n) { return n * n; }

TEST_F(coming_from_threads_run, main_becomes_run) {
  int answer = 0;
  // row: main
  run([&] {
    fiber<> worker = spawn([&] { answer = 42; });
    worker.join();
  });
  // end
  EXPECT_EQ(answer, 42);
}

TEST_P(coming_from_threads, thread_and_join) {
  run([] {
    // row: thread
    std::vector<fiber<int>> squares;
    for (int n = 0; n < 10'000; ++n) {  // a fiber each: they are cheap
      squares.push_back(spawn(square, n));
    }
    long sum = 0;
    for (fiber<int>& each : squares) {
      sum += each.join();
    }
    // end
    EXPECT_EQ(sum, 333283335000);
  });
}

TEST_P(coming_from_threads, exceptions) {
  run([] {
    std::string what;
    // row: an exception in a thread
    fiber<> failing = spawn([] { throw std::runtime_error("on purpose"); });
    try {
      failing.join();
    } catch (const std::runtime_error& error) {
      what = error.what();
    }
    // end
    EXPECT_EQ(what, "on purpose");
  });
}

TEST_P(coming_from_threads, detach) {
  run([] {
    event ran;
    // row: detach, daemon=True
    spawn([&] { ran.set(); }).detach();
    // end
    ran.wait();
    EXPECT_TRUE(ran.is_set());
  });
}

TEST_P(coming_from_threads, jthread) {
  run([] {
    bool stopped = false;
    event begun;
    // row: jthread
    {
      fiber<> worker = spawn([&] {
        try {
          begun.set();
          this_fiber::sleep_for(1h);
        } catch (const cancelled&) {
          stopped = true;
          throw;
        }
      });
      begun.wait();
    }  // ~fiber cancels and joins: the sleep has thrown
    // end
    EXPECT_TRUE(stopped);
  });
}

int sum_until(const std::stop_token& stop) {
  int sum = 0;
  while (!stop.stop_requested()) {
    ++sum;
    this_fiber::yield();
  }
  return sum;
}

TEST_P(coming_from_threads, stop_token) {
  run([] {
    event begun;
    // row: stop_token
    fiber<> worker = spawn([&] {
      begun.set();
      sum_until(this_fiber::get_stop_token());  // for code that asks a token
    });
    // end
    begun.wait();
    worker.cancel();
    worker.wait();
    EXPECT_TRUE(worker.done());
  });
}

TEST_P(coming_from_threads, sleep_and_id) {
  run([] {
    // row: this_thread
    this_fiber::sleep_for(1ms);
    this_fiber::yield();
    fiber_id me = this_fiber::get_id();  // stays, whichever thread the fiber is on
    // end
    EXPECT_NE(me, 0U);
  });
}

TEST_P(coming_from_threads, mutexes) {
  run([] {
    int total = 0;
    // row: mutex, Lock
    mutex lock;
    fiber<> other = spawn([&] {
      const std::lock_guard guard(lock);
      ++total;
    });
    {
      const std::lock_guard guard(lock);
      ++total;
    }
    other.join();
    // end
    EXPECT_EQ(total, 2);
  });
}

TEST_P(coming_from_threads, held_across_a_wait) {
  run([] {
    int value = 0;
    // row: a lock held across a wait
    mutex lock;
    fiber<> slow = spawn([&] {
      const std::lock_guard guard(lock);
      const int before = value;
      this_fiber::sleep_for(1ms);  // may wake on another thread: an aramid::mutex does not mind
      value = before + 1;
    });
    // end
    slow.join();
    EXPECT_EQ(value, 1);
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
  });
}

TEST_P(coming_from_threads, std_mutex_for_short_stretches) {
  run([] {
    int total = 0;
    // row: std::mutex that stays
    std::mutex lock;  // code that threads use too, and that waits for nothing while it holds it
    {
      const std_guard guard(lock);
      ++total;
    }
    // end
    EXPECT_EQ(total, 1);
  });
}

TEST_P(coming_from_threads, timed_lock) {
  run([] {
    mutex lock;
    const std::lock_guard guard(lock);
    fiber<> other = spawn([&] {
      // row: timed_mutex, acquire(timeout=…)
      std::unique_lock<mutex> attempt(lock, std::defer_lock);
      bool locked = attempt.try_lock_for(2ms);
      // end
      EXPECT_FALSE(locked);
    });
    other.join();
  });
}

TEST_P(coming_from_threads, recursive) {
  run([] {
    // row: recursive_mutex, RLock
    recursive_mutex lock;
    const std::lock_guard once(lock);
    const std::lock_guard again(lock);
    // end
    fiber<bool> other = spawn([&] { return lock.try_lock(); });
    EXPECT_FALSE(other.join());
  });
}

TEST_P(coming_from_threads, shared) {
  run([] {
    // row: shared_mutex
    shared_mutex lock;
    std::shared_lock mine(lock);
    fiber<bool> reader = spawn([&] { return std::shared_lock(lock, std::try_to_lock).owns_lock(); });
    fiber<bool> writer = spawn([&] { return std::unique_lock(lock, std::try_to_lock).owns_lock(); });
    bool read = reader.join();
    bool written = writer.join();
    // end
    EXPECT_TRUE(read);
    EXPECT_FALSE(written);
  });
}

TEST_P(coming_from_threads, condition) {
  run([] {
    // row: condition_variable, Condition
    mutex lock;
    condition_variable changed;
    bool ready = false;
    fiber<> setter = spawn([&] {
      const std::lock_guard guard(lock);
      ready = true;
      changed.notify_one();
    });
    std::unique_lock guard(lock);
    changed.wait(guard, [&] { return ready; });
    // end
    EXPECT_TRUE(ready);
  });
}

TEST_P(coming_from_threads, semaphore) {
  run([] {
    // row: counting_semaphore, Semaphore
    counting_semaphore<> slots(1);
    slots.acquire();
    bool another = slots.try_acquire_for(1ms);
    slots.release();
    // end
    EXPECT_FALSE(another);
    EXPECT_TRUE(slots.try_acquire());
  });
}

TEST_P(coming_from_threads, event) {
  run([] {
    // row: Event
    event ready;
    fiber<> setter = spawn([&] { ready.set(); });
    bool in_time = ready.wait_for(5s);
    // end
    EXPECT_TRUE(in_time);
  });
}

TEST_P(coming_from_threads, latch) {
  run([] {
    std::atomic<int> done = 0;
    // row: latch
    latch all(3);
    task_group group;
    for (int i = 0; i < 3; ++i) {
      group.spawn([&] {
        ++done;
        all.count_down();
      });
    }
    all.wait();
    // end
    EXPECT_EQ(done, 3);
  });
}

TEST_P(coming_from_threads, barrier) {
  run([] {
    int phases = 0;
    // row: barrier, Barrier
    barrier meeting(2, [&]() noexcept { ++phases; });
    fiber<> other = spawn([&] {
      meeting.arrive_and_wait();
      meeting.arrive_and_wait();
    });
    meeting.arrive_and_wait();
    meeting.arrive_and_wait();
    // end
    other.join();
    EXPECT_EQ(phases, 2);
  });
}

TEST_P(coming_from_threads, timer) {
  run([] {
    bool fired = false;
    // row: Timer
    fiber<> timer = spawn_after(1h, [&] { fired = true; });
    timer.cancel();
    timer.wait();
    // end
    EXPECT_FALSE(fired);
  });
}

TEST_P(coming_from_threads, thread_local_data) {
  run([] {
    // row: thread_local, threading.local
    static fiber_local<int> counter([] { return 100; });
    ++*counter;
    int others = spawn([] { return *counter; }).join();  // made for it when it asked
    // end
    EXPECT_EQ(*counter, 101);
    EXPECT_EQ(others, 100);
  });
}

TEST_P(coming_from_threads, promise_and_future) {
  run([] {
    // row: promise, future
    promise<int> answer;
    future<int> asked = answer.get_future();
    std::thread outsider([&] { answer.set_value(42); });  // a fiber or a thread
    int value = asked.get();
    // end
    outsider.join();
    EXPECT_EQ(value, 42);
  });
}

TEST_P(coming_from_threads, async) {
  run([] {
    // row: async
    fiber<int> left = spawn(square, 3);
    int right = square(4);
    int sum = left.join() + right;
    // end
    EXPECT_EQ(sum, 25);
  });
}

TEST_P(coming_from_threads, queue) {
  run([] {
    int sum = 0;
    // row: queue.Queue
    channel<int> queue(16);
    std::thread producer([&] {  // threads and fibers at the same channel
      for (int n = 1; n <= 100; ++n) {
        queue.send(n);
      }
      queue.close();
    });
    for (int item : queue) {
      sum += item;
    }
    // end
    producer.join();
    EXPECT_EQ(sum, 5050);
  });
}

TEST_P(coming_from_threads, thread_that_waits_until_it_is_stopped) {
  run([] {
    channel_status status = channel_status::ok;
    // row: stop_token for a thread's wait
    channel<int> queue;
    std::jthread consumer([&](std::stop_token stop) { status = queue.receive(stop).status(); });
    consumer.request_stop();
    consumer.join();
    // end
    EXPECT_EQ(status, channel_status::stopped);
  });
}

TEST_P(coming_from_threads, executor_submit) {
  run([] {
    // row: ThreadPoolExecutor.submit
    fiber_pool pool(8);
    task<int> answer = pool.submit(square, 7);  // waits while eight run
    int value = answer.join();
    // end
    EXPECT_EQ(value, 49);
  });
}

TEST_P(coming_from_threads, executor_map) {
  run([] {
    std::vector<int> results;
    const std::vector<int> numbers{1, 2, 3};
    // row: Executor.map
    fiber_pool pool(8);
    for (int each : pool.map(numbers, square)) {
      results.push_back(each);
    }
    // end
    EXPECT_EQ(results, (std::vector<int>{1, 4, 9}));
  });
}

TEST_P(coming_from_threads, executor_wait_and_as_completed) {
  run([] {
    int sum = 0;
    // row: wait, as_completed
    fiber_pool pool(8);
    std::vector<task<int>> tasks;
    for (int n : {1, 2, 3}) {
      tasks.push_back(pool.submit(square, n));
    }
    auto first = wait_any(tasks);  // FIRST_COMPLETED
    bool done = first->done();
    for (task<int>& each : as_completed(tasks)) {
      sum += each.join();
    }
    // end
    EXPECT_TRUE(done);
    EXPECT_EQ(sum, 14);
  });
}

TEST_P(coming_from_threads, executor_shutdown) {
  run([] {
    bool cancelled_too = false;
    // row: shutdown(cancel_futures=True)
    fiber_pool pool(1);
    task<> running = pool.submit([] { this_fiber::sleep_for(1h); });
    pool.cancel();  // also what has begun; `join` alone waits for it
    pool.join();
    try {
      running.join();
    } catch (const fiber_cancelled&) {
      cancelled_too = true;
    }
    // end
    EXPECT_TRUE(cancelled_too);
  });
}

TEST_P(coming_from_threads, calls_that_block) {
  run([] {
    int value = 0;
    // row: a pool for calls that block
    with_task_group([&](task_group& group) {
      for (int i = 0; i < 2; ++i) {
        group.spawn([] { blocking([] { std::this_thread::sleep_for(20ms); }); });  // both at once, also with one worker
      }
      value = blocking([] { return 42; });
    });
    // end
    EXPECT_EQ(value, 42);
  });
}

TEST_P(coming_from_threads, several_things_at_once) {
  run([] {
    channel<int> orders(1);
    event closing;
    int order = 0;
    orders.send(7);
    // row: waiting for one of several things
    select(on_receive(orders, [&](std::optional<int> next) { order = next.value_or(0); }),
           on_set(closing),
           after(5s));
    // end
    EXPECT_EQ(order, 7);
  });
}

TEST_F(coming_from_threads_run, beside_a_main_loop) {
  int answer = 0;
  // row: beside threads of your own
  runtime rt({.workers = 2});
  std::thread gui([&] {
    auto inside = rt.enter();  // `spawn` works on this thread too
    answer = spawn(square, 7).join();
  });
  gui.join();
  rt.stop();
  // end
  EXPECT_EQ(answer, 49);
}

TEST_P(coming_from_threads, computing) {
  run([] {
    std::uint64_t sum = 0;
    // row: preemption
    for (std::uint64_t n = 0; n < 100'000; ++n) {
      sum += n * n;
      if (n % 4096 == 0) {
        this_fiber::checkpoint();  // gives way now and then, and sees a cancellation
      }
    }
    // end
    EXPECT_EQ(sum, 333328333350000U);
  });
}

}  // namespace
