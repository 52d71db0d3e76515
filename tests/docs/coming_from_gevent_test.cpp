// The rows of docs/coming_from_gevent.md.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <aramid/aramid.hpp>

#include "docs_fixture.hpp"

using namespace aramid;
using namespace std::chrono_literals;

namespace {

class coming_from_gevent : public test::runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, coming_from_gevent, test::few_or_many);

class coming_from_gevent_run : public test::leaves_nothing {};

int add(int a, int b) { return a + b; }
int square(int n) { return n * n; }
void serve() { this_fiber::sleep_for(1h); }
void fail() { throw std::runtime_error("on purpose"); }

TEST_F(coming_from_gevent_run, run) {
  // row: run
  int answer = run([] {  // starts the workers; returns when every fiber has ended
    return spawn(add, 40, 2).join();
  });
  // end
  EXPECT_EQ(answer, 42);
}

TEST_P(coming_from_gevent, spawn_and_get) {
  run([] {
    // row: spawn, get
    fiber<int> greenlet = spawn(add, 40, 2);
    int answer = greenlet.join();
    // end
    EXPECT_EQ(answer, 42);
  });
}

TEST_P(coming_from_gevent, spawn_later) {
  run([] {
    bool ran = false;
    // row: spawn_later
    fiber<> later = spawn_after(1h, [&] { ran = true; });
    later.cancel();  // killed before it has begun, it never runs
    later.wait();
    // end
    EXPECT_FALSE(ran);
    EXPECT_EQ(spawn_after(1ms, square, 3).join(), 9);
  });
}

TEST_P(coming_from_gevent, get_with_a_timeout) {
  run([] {
    fiber<int> greenlet = spawn([] {
      this_fiber::sleep_for(1h);
      return 42;
    });
    // row: get(timeout=…)
    std::optional<int> answer = greenlet.join_for(10ms);
    if (!answer) {
      greenlet.cancel();  // otherwise it goes on
    }
    // end
    EXPECT_FALSE(answer);
    EXPECT_THROW(greenlet.join(), fiber_cancelled);
  });
}

TEST_P(coming_from_gevent, kill) {
  run([] {
    // row: kill
    fiber<> greenlet = spawn(serve);
    greenlet.cancel();
    greenlet.wait();  // kill(block=True); without it: block=False
    // end
    EXPECT_TRUE(greenlet.done());
    EXPECT_THROW(greenlet.join(), fiber_cancelled);
  });
}

TEST_P(coming_from_gevent, ready_and_exception) {
  run([] {
    std::string what;
    // row: ready, successful, exception
    fiber<> greenlet = spawn(fail);
    while (!greenlet.done()) {
      this_fiber::yield();
    }
    try {
      greenlet.join();
    } catch (const std::runtime_error& error) {  // what the fiber threw
      what = error.what();
    }
    // end
    EXPECT_EQ(what, "on purpose");
  });
}

TEST_P(coming_from_gevent, link) {
  run([] {
    // row: link
    event ended;
    fiber<int> greenlet = spawn(square, 7);
    greenlet.on_done([&] { ended.set(); });
    ended.wait();
    // end
    EXPECT_TRUE(greenlet.done());
    EXPECT_EQ(greenlet.join(), 49);
  });
}

TEST_P(coming_from_gevent, joinall) {
  run([] {
    int sum = 0;
    // row: joinall
    std::vector<fiber<int>> greenlets;
    for (int n : {1, 2, 3}) {
      greenlets.push_back(spawn(square, n));
    }
    bool all = try_with_timeout(5s, [&] { wait_all(greenlets); });
    for (fiber<int>& each : greenlets) {
      sum += each.join();
    }
    // end
    EXPECT_TRUE(all);
    EXPECT_EQ(sum, 14);
  });
}

TEST_P(coming_from_gevent, iwait) {
  run([] {
    std::vector<int> order;
    std::vector<fiber<int>> greenlets;
    for (int n : {1, 0}) {
      greenlets.push_back(spawn([n] {
        this_fiber::sleep_for(n * 200ms);
        return n;
      }));
    }
    // row: iwait
    for (fiber<int>& each : as_completed(greenlets)) {  // the first that ends comes first
      order.push_back(each.join());
    }
    // end
    EXPECT_EQ(order, (std::vector<int>{0, 1}));
  });
}

TEST_P(coming_from_gevent, wait_for_the_first_of_several_things) {
  run([] {
    fiber<int> worker = spawn(square, 6);
    event stopping;
    int result = 0;
    // row: wait(objects, count=1)
    select(on_join(worker, [&](int value) { result = value; }),
           on_set(stopping, [&] { worker.cancel(); }),
           after(5s, [&] { throw timeout_error(); }));
    // end
    EXPECT_EQ(result, 36);
  });
}

TEST_P(coming_from_gevent, sleep) {
  run([] {
    const auto begin = std::chrono::steady_clock::now();
    // row: sleep
    this_fiber::yield();  // gevent.sleep(0)
    this_fiber::sleep_for(10ms);
    // end
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 10ms);
  });
}

TEST_P(coming_from_gevent, timeout_that_raises) {
  run([] {
    bool late = false;
    // row: Timeout
    try {
      with_timeout(10ms, [] { this_fiber::sleep_for(1h); });
    } catch (const timeout_error&) {
      late = true;
    }
    // end
    EXPECT_TRUE(late);
  });
}

TEST_P(coming_from_gevent, timeout_that_does_not_raise) {
  run([] {
    channel<int> answers(1);
    // row: Timeout(…, False)
    bool in_time = try_with_timeout(10ms, [&] { (void)answers.receive(); });
    answers.send(42);  // too late for that call, and not lost
    std::optional<int> answer = answers.receive();
    // end
    EXPECT_FALSE(in_time);
    EXPECT_EQ(answer, 42);
  });
}

TEST_P(coming_from_gevent, group) {
  run([] {
    std::atomic<int> done = 0;
    // row: Group
    task_group group(on_error::isolate);
    for (int i = 0; i < 10; ++i) {
      group.spawn([&] { ++done; });
    }
    group.join();
    // end
    EXPECT_EQ(done, 10);
    EXPECT_EQ(group.size(), 0U);
  });
}

TEST_P(coming_from_gevent, pool_spawn) {
  run([] {
    // row: Pool.spawn
    fiber_pool pool(100);
    task<int> one = pool.submit(add, 40, 2);  // waits while 100 run
    int answer = one.join();
    // end
    EXPECT_EQ(answer, 42);
  });
}

TEST_P(coming_from_gevent, pool_map) {
  run([] {
    int sum = 0;
    std::vector<int> in_order;
    const std::vector<int> numbers{1, 2, 3, 4, 5};
    // row: Pool.map, imap, imap_unordered
    fiber_pool pool(3);
    for (int each : pool.map(numbers, square)) {
      in_order.push_back(each);
    }
    for (int each : pool.map_unordered(numbers, square)) {
      sum += each;
    }
    // end
    EXPECT_EQ(in_order, (std::vector<int>{1, 4, 9, 16, 25}));
    EXPECT_EQ(sum, 55);
  });
}

TEST_P(coming_from_gevent, queue) {
  run([] {
    // row: Queue
    channel<int> queue(10);
    queue.send(1);                                 // put: waits while there are 10
    std::optional<int> item = queue.receive();     // get; nullopt when closed and drained
    received<int> now = queue.try_receive();       // get_nowait
    received<int> soon = queue.receive_for(10ms);  // get(timeout=…)
    // end
    EXPECT_EQ(item, 1);
    EXPECT_EQ(now.status(), channel_status::would_block);
    EXPECT_EQ(soon.status(), channel_status::timed_out);
  });
}

TEST_P(coming_from_gevent, queue_until_its_end) {
  run([] {
    int sum = 0;
    // row: Queue, StopIteration
    auto [in, out] = make_channel<int>(10);
    fiber<> producer = spawn([in = std::move(in)] {
      for (int n = 1; n <= 100; ++n) {
        in.send(n);
      }
    });  // the last sender goes with it: the channel closes
    for (int item : out) {
      sum += item;
    }
    // end
    EXPECT_EQ(sum, 5050);
  });
}

TEST_P(coming_from_gevent, channel_without_a_buffer) {
  run([] {
    std::optional<int> taken;
    // row: Channel
    channel<int> handover;  // capacity 0: put waits for get
    fiber<> taker = spawn([&] { taken = handover.receive(); });
    handover.send(42);
    // end
    taker.join();
    EXPECT_EQ(taken, 42);
  });
}

TEST_P(coming_from_gevent, event) {
  run([] {
    // row: Event
    event ready;
    fiber<> setter = spawn([&] { ready.set(); });
    bool in_time = ready.wait_for(5s);
    // end
    EXPECT_TRUE(in_time);
    EXPECT_TRUE(ready.is_set());
  });
}

TEST_P(coming_from_gevent, async_result) {
  run([] {
    // row: AsyncResult
    promise<int> result;
    shared_future<int> waiting = result.get_future().share();
    fiber<> worker = spawn([&] { result.set_value(42); });  // or set_exception
    int value = waiting.get();  // as often, and by as many, as you like
    // end
    EXPECT_EQ(value, 42);
    EXPECT_EQ(waiting.get(), 42);
  });
}

TEST_P(coming_from_gevent, local) {
  run([] {
    // row: local
    static fiber_local<std::string> user;
    *user = "root";
    spawn([] { *user = "somebody else"; }).join();
    std::string mine = *user;
    // end
    EXPECT_EQ(mine, "root");
  });
}

TEST_P(coming_from_gevent, semaphore_and_rlock) {
  run([] {
    // row: BoundedSemaphore, RLock
    counting_semaphore<> slots(2);
    slots.acquire();
    slots.release();

    recursive_mutex lock;
    const std::lock_guard outer(lock);
    const std::lock_guard inner(lock);
    // end
    EXPECT_TRUE(slots.try_acquire());
    EXPECT_TRUE(slots.try_acquire());
    EXPECT_FALSE(slots.try_acquire());
  });
}

TEST_P(coming_from_gevent, locks_where_there_was_none) {
  run([] {
    // row: no lock at all
    mutex lock;
    int visits = 0;
    with_task_group([&](task_group& group) {
      for (int i = 0; i < 100; ++i) {
        group.spawn([&] {
          const std::lock_guard guard(lock);
          ++visits;
        });
      }
    });
    // end
    EXPECT_EQ(visits, 100);
  });
}

// row: StreamServer, the handler
void handle(io::tcp_stream peer) {
  char buffer[4096];
  while (std::size_t count = peer.read_some(buffer)) {  // 0 at end of stream
    peer.write_all(std::string_view(buffer, count));
  }
}
// end

TEST_P(coming_from_gevent, stream_server) {
  run([] {
    // row: StreamServer
    io::tcp_server server(io::endpoint("127.0.0.1", 0), handle, {.max_connections = 1000});  // spawn=1000
    fiber<> serving = spawn([&] { server.serve(); });
    // end
    io::tcp_stream client = io::connect(server.local_endpoint());
    client.write_all("ping");
    std::array<char, 4> answer{};
    client.read_exactly(answer);
    EXPECT_EQ(std::string_view(answer.data(), answer.size()), "ping");
    client.close();
    // row: stop(timeout)
    std::size_t killed = server.drain(5s);  // so long they may finish
    // end
    EXPECT_EQ(killed, 0U);
  });
}

TEST_P(coming_from_gevent, socket) {
  run([] {
    const test::echo_service service;
    const io::endpoint server = service.where();
    // row: socket.create_connection
    io::tcp_stream peer = with_timeout(5s, [&] { return io::connect(server); });
    peer.write_all("ping");  // sendall
    std::array<char, 4> answer;
    peer.read_exactly(answer);  // recv until there are 4 bytes
    peer.close();
    // end
    EXPECT_EQ(std::string_view(answer.data(), answer.size()), "ping");
  });
}

TEST_P(coming_from_gevent, create_connection_by_name) {
  run([] {
    const test::echo_service service;
    const std::uint16_t port = service.where().port();
    // row: create_connection, a name
    io::tcp_stream peer = with_timeout(5s, [&] { return io::connect("localhost", port); });
    // end
    peer.write_all("x");
    std::array<char, 1> echo{};
    peer.read_exactly(echo);
    EXPECT_EQ(echo[0], 'x');
  });
}

TEST_P(coming_from_gevent, getaddrinfo) {
  run([] {
    // row: getaddrinfo
    std::vector<io::endpoint> found = io::resolve("localhost", 80, {.family = AF_INET});
    // end
    EXPECT_EQ(found, std::vector{io::endpoint("127.0.0.1", 80)});
  });
}

std::size_t query(const std::string& text) { return text.size(); }

TEST_P(coming_from_gevent, threadpool) {
  run([] {
    const std::string text = "select";
    // row: ThreadPool
    std::size_t rows = blocking([&] { return query(text); });
    // end
    EXPECT_EQ(rows, 6U);
  });
}

TEST_P(coming_from_gevent, signal) {
  run([] {
    bool stopped = false;
    // row: signal_handler
    io::signal_set signals{SIGUSR1};
    fiber<> watcher = spawn([&] {
      signals.wait();
      stopped = true;  // an ordinary fiber: it may do what it likes
    });
    // end
    ::kill(::getpid(), SIGUSR1);
    watcher.join();
    EXPECT_TRUE(stopped);
  });
}

TEST_P(coming_from_gevent, file_object) {
  run([] {
    const std::string path = std::filesystem::temp_directory_path() / ("aramid_gevent_" + std::to_string(::getpid()));
    std::string text;
    // row: FileObject
    io::file log = io::file::open(path, {.read = true, .write = true, .create = true, .truncate = true});
    log.write_all("a line\n");
    log.seek(0);
    std::array<char, 64> buffer;
    text.assign(buffer.data(), log.read_some(buffer));
    // end
    std::filesystem::remove(path);
    EXPECT_EQ(text, "a line\n");
  });
}

// row: GreenletExit
void converse(channel<int>& questions, channel<std::string>& replies) {
  try {
    while (questions.receive()) {
    }
  } catch (const cancelled&) {
    shield_for(1s, [&] { replies.send("bye"); });  // without the shield this wait would throw too
    throw;
  }
}
// end

TEST_P(coming_from_gevent, greenlet_exit) {
  run([] {
    channel<int> questions;
    channel<std::string> replies(1);
    fiber<> conversation = spawn([&] { converse(questions, replies); });
    questions.send(1);  // it has begun
    conversation.cancel();
    EXPECT_EQ(replies.receive(), "bye");
    EXPECT_THROW(conversation.join(), fiber_cancelled);
  });
}

TEST_P(coming_from_gevent, bare_except) {
  run([] {
    channel<int> questions;
    bool failed = false;
    fiber<> conversation = spawn([&] {
      // row: except BaseException
      try {
        while (questions.receive()) {
        }
      } catch (...) {
        rethrow_if_cancelled();
        failed = true;
      }
      // end
    });
    questions.send(1);
    conversation.cancel();
    EXPECT_THROW(conversation.join(), fiber_cancelled);
    EXPECT_FALSE(failed);
  });
}

TEST_P(coming_from_gevent, print_run_info) {
  run([] {
    event never;
    fiber<> reader = spawn({.name = "reader"}, [&] { never.wait(); });
    std::string text;
    EXPECT_TRUE(test::eventually([&] {
      // row: print_run_info
      text = dump_fibers();  // every fiber: name, what it waits in and since when, stack
      // end
      return text.find("event::wait") != std::string::npos;
    }));
    EXPECT_NE(text.find("'reader'"), std::string::npos);
  });
}

TEST_F(coming_from_gevent_run, monitor_thread) {
  test::captured_log log;
  const auto program = [&] {  // a fiber that does not give way
    const auto patience = std::chrono::steady_clock::now() + 60s;
    while (log.count("to itself") == 0 && std::chrono::steady_clock::now() < patience) {
    }
  };
  // row: GEVENT_MONITOR_THREAD_ENABLE
  run(program, {.report_hogs_after = 20ms});  // or ARAMID_REPORT_HOGS=20 in the environment
  // end
  EXPECT_EQ(log.count("to itself"), 1U);
}

}  // namespace
