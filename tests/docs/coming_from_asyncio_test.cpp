// The rows of docs/coming_from_asyncio.md.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <aramid/aramid.hpp>

#include "docs_fixture.hpp"

using namespace aramid;
using namespace std::chrono_literals;

namespace {

class coming_from_asyncio : public test::runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, coming_from_asyncio, test::few_or_many);

class coming_from_asyncio_run : public test::leaves_nothing {};

std::size_t query(const std::string& text) { return text.size(); }
int square(int n) { return n * n; }
[[noreturn]] int fail() { throw std::runtime_error("on purpose"); }

TEST_F(coming_from_asyncio_run, run) {
  // row: run
  int answer = run([] {
    this_fiber::sleep_for(1ms);
    return 42;
  });
  // end
  EXPECT_EQ(answer, 42);
}

TEST_F(coming_from_asyncio_run, atomic_between_awaits) {
  int balance = 100;
  const auto transfers = [&] {
    with_task_group([&](task_group& group) {
      for (int i = 0; i < 100; ++i) {
        group.spawn([&] {
          const int before = balance;
          balance = before - 1;
          this_fiber::yield();
        });
      }
    });
  };
  // row: one thread
  run(transfers, {.workers = 1});  // what does not suspend is not interrupted, as in an event loop
  // end
  EXPECT_EQ(balance, 0);
}

TEST_P(coming_from_asyncio, create_task) {
  run([] {
    // row: create_task, await
    fiber<int> task = spawn(square, 7);
    int answer = task.join();
    // end
    EXPECT_EQ(answer, 49);
  });
}

TEST_P(coming_from_asyncio, plain_calls) {
  run([] {
    // row: await a coroutine
    int answer = square(7);  // what may suspend is called like anything else
    // end
    EXPECT_EQ(answer, 49);
  });
}

TEST_P(coming_from_asyncio, gather) {
  run([] {
    // row: gather
    auto [left, right] = with_task_group([](task_group& group) {
      task<int> a = group.spawn(square, 3);
      task<int> b = group.spawn(square, 4);
      return std::pair(a.join(), b.join());
    });
    // end
    EXPECT_EQ(left, 9);
    EXPECT_EQ(right, 16);
  });
}

TEST_P(coming_from_asyncio, gather_that_returns_exceptions) {
  run([] {
    int sum = 0;
    int failures = 0;
    std::vector<fiber<int>> tasks;
    tasks.push_back(spawn(square, 3));
    tasks.push_back(spawn(fail));
    tasks.push_back(spawn(square, 4));
    // row: gather(return_exceptions=True)
    wait_all(tasks);  // whatever becomes of them
    for (fiber<int>& each : tasks) {
      try {
        sum += each.join();
      } catch (const std::exception&) {
        ++failures;
      }
    }
    // end
    EXPECT_EQ(sum, 25);
    EXPECT_EQ(failures, 1);
  });
}

TEST_P(coming_from_asyncio, wait_for_the_first) {
  run([] {
    std::vector<fiber<int>> tasks;
    for (int n : {1, 0}) {
      tasks.push_back(spawn([n] {
        this_fiber::sleep_for(n * 1h);
        return n;
      }));
    }
    // row: wait(FIRST_COMPLETED)
    auto first = wait_any(tasks);
    int answer = first->join();
    tasks.clear();  // cancels and joins the others
    // end
    EXPECT_EQ(answer, 0);
  });
}

TEST_P(coming_from_asyncio, as_completed_in_the_order_of_the_ends) {
  run([] {
    std::vector<int> order;
    std::vector<fiber<int>> tasks;
    for (int n : {1, 0}) {
      tasks.push_back(spawn([n] {
        this_fiber::sleep_for(n * 200ms);
        return n;
      }));
    }
    // row: as_completed
    for (fiber<int>& each : as_completed(tasks)) {
      order.push_back(each.join());
    }
    // end
    EXPECT_EQ(order, (std::vector<int>{0, 1}));
  });
}

TEST_P(coming_from_asyncio, sleep) {
  run([] {
    const auto begin = std::chrono::steady_clock::now();
    // row: sleep
    this_fiber::sleep_for(10ms);
    this_fiber::yield();  // sleep(0)
    // end
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 10ms);
  });
}

TEST_P(coming_from_asyncio, timeout) {
  run([] {
    bool late = false;
    // row: timeout
    try {
      with_timeout(10ms, [] { this_fiber::sleep_for(1h); });
    } catch (const timeout_error&) {
      late = true;
    }
    // end
    EXPECT_TRUE(late);
  });
}

TEST_P(coming_from_asyncio, wait_for) {
  run([] {
    event ready;
    // row: wait_for
    std::optional<int> answer = try_with_timeout(10ms, [&] {
      ready.wait();
      return 42;
    });
    // end
    EXPECT_FALSE(answer);
  });
}

TEST_P(coming_from_asyncio, timeout_at) {
  run([] {
    int calls = 0;
    // row: timeout_at
    const time_point deadline = clock::now() + 10ms;  // one for several calls
    try {
      for (;;) {
        with_deadline(deadline, [&] { this_fiber::sleep_for(2ms); });
        ++calls;
      }
    } catch (const timeout_error&) {
    }
    // end
    EXPECT_LE(calls, 5);
    EXPECT_GE(clock::now(), deadline);
  });
}

TEST_P(coming_from_asyncio, shielded) {
  run([] {
    event begun;
    channel<int> slow_disk;
    bool saved = false;
    fiber<> task = spawn([&] {
      begun.set();
      // row: shield
      shield::run([&] {
        slow_disk.send(1);  // waits, and does not see a cancellation
        saved = true;
      });
      this_fiber::yield();  // this does
      // end
      ADD_FAILURE() << "went on";
    });
    begun.wait();
    task.cancel();
    (void)slow_disk.receive();
    EXPECT_THROW(task.join(), fiber_cancelled);
    EXPECT_TRUE(saved);
  });
}

TEST_P(coming_from_asyncio, task_group_that_fails) {
  run([] {
    std::string what;
    // row: TaskGroup
    try {
      with_task_group([](task_group& group) {
        group.spawn([] { this_fiber::sleep_for(1h); });  // is cancelled
        group.spawn(fail);
      });  // both have ended here
    } catch (const std::runtime_error& error) {
      what = error.what();
    }
    // end
    EXPECT_EQ(what, "on purpose");
  });
}

TEST_P(coming_from_asyncio, exception_group) {
  run([] {
    // row: ExceptionGroup
    std::vector<std::exception_ptr> errors;
    barrier<> together(2);  // not inside: the body's own variables go before the children have ended
    try {
      with_task_group(errors, [&](task_group& group) {
        for (int i = 0; i < 2; ++i) {
          group.spawn([&] {
            together.arrive_and_wait();
            fail();
          });
        }
      });
    } catch (const std::runtime_error&) {  // the first; `errors` has all
    }
    // end
    EXPECT_EQ(errors.size(), 2U);
  });
}

TEST_P(coming_from_asyncio, cancel) {
  run([] {
    bool cleaned = false;
    event begun;
    fiber<> task = spawn([&] {
      // row: CancelledError
      try {
        begun.set();
        this_fiber::sleep_for(1h);
      } catch (const cancelled&) {
        cleaned = true;
        throw;  // as in asyncio, it must go on
      }
      // end
    });
    begun.wait();
    bool was_cancelled = false;
    // row: cancel
    task.cancel();
    try {
      task.join();
    } catch (const fiber_cancelled&) {  // the other one; our own would be `cancelled`
      was_cancelled = true;
    }
    // end
    EXPECT_TRUE(cleaned);
    EXPECT_TRUE(was_cancelled);
  });
}

TEST_P(coming_from_asyncio, to_thread) {
  run([] {
    const std::string text = "select";
    // row: to_thread
    std::size_t rows = blocking([&] { return query(text); });
    // end
    EXPECT_EQ(rows, 6U);
  });
}

TEST_P(coming_from_asyncio, to_thread_that_can_be_stopped) {
  run([] {
    event begun;
    // row: to_thread, cancelled
    fiber<int> counting = spawn([&] {
      return blocking([&](std::stop_token stop) {
        begun.set();
        int rounds = 1;
        while (!stop.stop_requested()) {
          ++rounds;
        }
        return rounds;
      });
    });
    begun.wait();
    counting.cancel();
    int rounds = counting.join();
    // end
    EXPECT_GE(rounds, 1);
  });
}

TEST_P(coming_from_asyncio, queue) {
  run([] {
    // row: Queue
    channel<int> queue(2);
    queue.send(1);                              // put
    channel_status put = queue.try_send(2);     // put_nowait
    channel_status full = queue.try_send(3);    // QueueFull
    std::optional<int> item = queue.receive();  // get
    received<int> now = queue.try_receive();    // get_nowait
    received<int> empty = queue.try_receive();  // QueueEmpty
    // end
    EXPECT_EQ(put, channel_status::ok);
    EXPECT_EQ(full, channel_status::would_block);
    EXPECT_EQ(item, 1);
    EXPECT_EQ(now, 2);
    EXPECT_EQ(empty.status(), channel_status::would_block);
  });
}

TEST_P(coming_from_asyncio, queue_shutdown) {
  run([] {
    bool refused = false;
    // row: Queue.shutdown
    channel<int> queue(2);
    queue.send(1);
    queue.close();
    std::optional<int> last = queue.receive();  // what was put is still there
    std::optional<int> end = queue.receive();   // nullopt, at once
    try {
      queue.send(2);
    } catch (const channel_closed&) {
      refused = true;
    }
    // end
    EXPECT_EQ(last, 1);
    EXPECT_EQ(end, std::nullopt);
    EXPECT_TRUE(refused);
  });
}

// row: async generator
receiver<int> countdown(task_group& group, int from) {
  auto [in, out] = make_channel<int>();
  group.spawn([in = std::move(in), from] {
    for (int n = from; n > 0; --n) {
      in.send(n);  // waits until it is asked for; throws channel_closed once nobody will
    }
  });
  return out;
}
// end

TEST_P(coming_from_asyncio, async_generator) {
  run([] {
    std::vector<int> seen;
    with_task_group([&](task_group& group) {
      // row: async for
      for (int n : countdown(group, 3)) {
        seen.push_back(n);
      }
      // end
    });
    EXPECT_EQ(seen, (std::vector<int>{3, 2, 1}));
  });
}

TEST_P(coming_from_asyncio, event) {
  run([] {
    // row: Event
    event ready;
    fiber<> setter = spawn([&] { ready.set(); });
    ready.wait();
    // end
    EXPECT_TRUE(ready.is_set());
  });
}

TEST_P(coming_from_asyncio, lock) {
  run([] {
    int total = 0;
    // row: Lock
    mutex lock;
    {
      const std::lock_guard guard(lock);  // async with lock
      ++total;
    }
    // end
    EXPECT_EQ(total, 1);
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
  });
}

TEST_P(coming_from_asyncio, condition) {
  run([] {
    mutex lock;
    bool ready = false;
    // row: Condition
    condition_variable changed;
    fiber<> setter = spawn([&] {
      const std::lock_guard guard(lock);
      ready = true;
      changed.notify_all();
    });
    std::unique_lock guard(lock);
    changed.wait(guard, [&] { return ready; });  // wait_for(predicate)
    // end
    EXPECT_TRUE(ready);
  });
}

TEST_P(coming_from_asyncio, semaphore) {
  run([] {
    std::atomic<int> inside = 0;
    std::atomic<bool> too_many = false;
    const auto visit = [&] {
      too_many = too_many || ++inside > 2;
      this_fiber::yield();
      --inside;
    };
    // row: Semaphore
    counting_semaphore<> slots(2);
    with_task_group([&](task_group& group) {
      for (int i = 0; i < 10; ++i) {
        group.spawn([&] {
          slots.acquire();
          visit();
          slots.release();
        });
      }
    });
    // end
    EXPECT_FALSE(too_many);
  });
}

TEST_P(coming_from_asyncio, barrier_of_three) {
  run([] {
    std::atomic<int> come = 0;
    std::atomic<int> gone = 0;
    // row: Barrier
    barrier<> meeting(3);
    with_task_group([&](task_group& group) {
      for (int i = 0; i < 3; ++i) {
        group.spawn([&] {
          ++come;
          meeting.arrive_and_wait();
          gone += come;  // all three have come
        });
      }
    });
    // end
    EXPECT_EQ(gone, 9);
  });
}

TEST_P(coming_from_asyncio, future_that_is_set_elsewhere) {
  run([] {
    // row: Future
    promise<int> answer;
    future<int> asked = answer.get_future();
    std::thread callback([&] { answer.set_value(42); });  // from any thread
    int value = asked.get();
    // end
    callback.join();
    EXPECT_EQ(value, 42);
  });
}

TEST_P(coming_from_asyncio, open_connection) {
  run([] {
    const test::echo_service service;
    const io::endpoint server = service.where();
    // row: open_connection
    io::tcp_stream stream = io::connect(server);
    stream.write_all("ping");  // write, drain
    std::array<char, 4> answer;
    stream.read_exactly(answer);  // readexactly(4)
    stream.close();
    // end
    EXPECT_EQ(std::string_view(answer.data(), answer.size()), "ping");
  });
}

TEST_P(coming_from_asyncio, open_connection_by_name) {
  run([] {
    const test::echo_service service;
    const std::uint16_t port = service.where().port();
    // row: open_connection, a name
    io::tcp_stream peer = io::connect("localhost", port, {.attempt_delay = 250ms});  // happy_eyeballs_delay=0.25
    // end
    peer.write_all("x");
    std::array<char, 1> echo{};
    peer.read_exactly(echo);
    EXPECT_EQ(echo[0], 'x');
  });
}

TEST_P(coming_from_asyncio, getaddrinfo) {
  run([] {
    // row: loop.getaddrinfo
    std::vector<io::endpoint> found = io::resolve("localhost", 80, {.family = AF_INET});
    // end
    EXPECT_EQ(found, std::vector{io::endpoint("127.0.0.1", 80)});
  });
}

TEST_P(coming_from_asyncio, start_server) {
  run([] {
    // row: start_server
    io::tcp_server server(io::endpoint("127.0.0.1", 0), [](io::tcp_stream client) { client.write_all("hello"); });
    fiber<> serving = spawn([&] { server.serve(); });  // serve_forever
    // end
    io::tcp_stream client = io::connect(server.local_endpoint());
    std::array<char, 5> greeting{};
    client.read_exactly(greeting);
    EXPECT_EQ(std::string_view(greeting.data(), greeting.size()), "hello");
    // row: close, wait_closed
    server.stop();     // close: no more connections
    serving.join();
    server.drain(5s);  // wait_closed, but no longer than that
    // end
    EXPECT_EQ(server.stats().finished, 1U);
  });
}

TEST_P(coming_from_asyncio, signal_handler) {
  run([] {
    // row: add_signal_handler
    io::signal_set stop{SIGUSR1, SIGUSR2};
    fiber<int> waiting = spawn([&] { return stop.wait(); });
    // end
    ::kill(::getpid(), SIGUSR1);
    EXPECT_EQ(waiting.join(), SIGUSR1);
  });
}

TEST_F(coming_from_asyncio_run, from_a_thread) {
  int answer = 0;
  // row: run_coroutine_threadsafe
  runtime rt;  // the loop, in threads of its own
  std::thread outsider([&] { answer = rt.spawn(square, 7).join(); });
  outsider.join();
  rt.stop(1s);  // waits for a second, then cancels and joins
  // end
  EXPECT_EQ(answer, 49);
}

TEST_P(coming_from_asyncio, call_soon_threadsafe) {
  run([] {
    // row: call_soon_threadsafe
    channel<int> from_outside(16);
    std::thread outsider([&] { from_outside.send(42); });
    std::optional<int> item = from_outside.receive();
    // end
    outsider.join();
    EXPECT_EQ(item, 42);
  });
}

TEST_P(coming_from_asyncio, call_later) {
  run([] {
    bool called = false;
    // row: call_later
    fiber<> timer = spawn_after(1ms, [&] { called = true; });
    // end
    timer.join();
    EXPECT_TRUE(called);
  });
}

TEST_P(coming_from_asyncio, done_callback) {
  run([] {
    event ended;
    fiber<int> task = spawn(square, 2);
    // row: add_done_callback
    task.on_done([&] { ended.set(); });
    // end
    ended.wait();
    EXPECT_TRUE(task.done());
  });
}

TEST_P(coming_from_asyncio, context_variable) {
  run([] {
    // row: ContextVar
    static const context_var<std::string> request("none");
    std::string seen = request.with("r-17", [] {
      return spawn([] { return request.get(); }).join();  // a new fiber sees what its parent saw
    });
    std::string after = request.get();
    // end
    EXPECT_EQ(seen, "r-17");
    EXPECT_EQ(after, "none");
  });
}

TEST_P(coming_from_asyncio, names) {
  run([] {
    // row: current_task().get_name()
    fiber<std::string> task = spawn({.name = "reader"}, [] { return std::string(this_fiber::name()); });
    std::string name = task.join();
    // end
    EXPECT_EQ(name, "reader");
  });
}

TEST_P(coming_from_asyncio, all_tasks) {
  run([] {
    fiber<> other = spawn([] { this_fiber::sleep_for(1h); });
    // row: len(all_tasks())
    std::uint64_t fibers = stats().fibers;
    // end
    EXPECT_EQ(fibers, 2U);
  });
}

TEST_P(coming_from_asyncio, print_stack) {
  run([] {
    event never;
    fiber<> reader = spawn({.name = "reader"}, [&] { never.wait(); });
    std::string text;
    EXPECT_TRUE(test::eventually([&] {
      // row: asyncio ps, pstree, print_stack
      text = dump_fibers();
      // end
      return text.find("event::wait") != std::string::npos;
    }));
    EXPECT_NE(text.find("'reader'"), std::string::npos);
  });
}

TEST_F(coming_from_asyncio_run, debug_mode) {
  test::captured_log log;
  const auto program = [&] {
    const auto patience = std::chrono::steady_clock::now() + 60s;
    while (log.count("to itself") == 0 && std::chrono::steady_clock::now() < patience) {
    }
  };
  // row: debug=True
  run(program, {.report_hogs_after = 20ms});
  // end
  EXPECT_EQ(log.count("to itself"), 1U);
}

}  // namespace
