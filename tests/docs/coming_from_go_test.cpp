// The rows of docs/coming_from_go.md.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <mutex>
#include <optional>
#include <shared_mutex>
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

class coming_from_go : public test::runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, coming_from_go, test::few_or_many);

class coming_from_go_run : public test::leaves_nothing {};

std::size_t query(const std::string& text) { return text.size(); }
int square(int n) { return n * n; }
void serve() { this_fiber::sleep_for(24h); }

TEST_F(coming_from_go_run, gomaxprocs) {
  unsigned workers = 0;
  // row: GOMAXPROCS
  run([&] { workers = stats().workers; }, {.workers = 2});
  // end
  EXPECT_EQ(workers, 2U);
}

TEST_P(coming_from_go, go_statement) {
  run([] {
    event ran;
    // row: go f()
    fiber<> mine = spawn([&] { ran.set(); });     // is joined when `mine` goes
    spawn([] { this_fiber::yield(); }).detach();  // as `go`: nobody waits for it
    // end
    ran.wait();
    mine.join();
    EXPECT_TRUE(ran.is_set());
  });
}

TEST_P(coming_from_go, results) {
  run([] {
    // row: a result through a channel
    fiber<int> answer = spawn(square, 7);
    int value = answer.join();
    // end
    EXPECT_EQ(value, 49);
  });
}

TEST_P(coming_from_go, wait_group) {
  run([] {
    std::atomic<int> done = 0;
    // row: WaitGroup
    task_group group;
    for (int i = 0; i < 10; ++i) {
      group.spawn([&] { ++done; });
    }
    group.join();
    // end
    EXPECT_EQ(done, 10);
  });
}

TEST_P(coming_from_go, unbuffered_channel) {
  run([] {
    // row: make(chan T)
    channel<int> numbers;
    fiber<> sender = spawn([&] { numbers.send(42); });
    std::optional<int> number = numbers.receive();
    // end
    EXPECT_EQ(number, 42);
  });
}

TEST_P(coming_from_go, buffered_channel) {
  run([] {
    int sum = 0;
    // row: make(chan T, n), close, range
    channel<int> numbers(3);
    for (int n : {1, 2, 3}) {
      numbers.send(n);
    }
    numbers.close();
    for (int n : numbers) {
      sum += n;
    }
    // end
    EXPECT_EQ(sum, 6);
  });
}

TEST_P(coming_from_go, comma_ok) {
  run([] {
    channel<int> numbers(1);
    numbers.send(0);
    numbers.close();
    // row: v, ok := <-ch
    std::optional<int> zero = numbers.receive();  // a 0 that was sent
    std::optional<int> end = numbers.receive();   // closed: nullopt, not a zero
    // end
    EXPECT_EQ(zero, 0);
    EXPECT_FALSE(end);
  });
}

TEST_P(coming_from_go, send_on_a_closed_channel) {
  run([] {
    bool refused = false;
    // row: send on a closed channel
    channel<std::string> lines;
    lines.close();
    lines.close();  // again: nothing
    try {
      lines.send("late");
    } catch (const channel_closed&) {
      refused = true;
    }
    // end
    EXPECT_TRUE(refused);
  });
}

TEST_P(coming_from_go, directions) {
  run([] {
    int sum = 0;
    // row: chan<- T, <-chan T
    auto [in, out] = make_channel<int>(4);
    fiber<> producer = spawn(
        [](sender<int> to) {
          for (int n : {1, 2, 3}) {
            to.send(n);
          }
        },
        std::move(in));  // closes when the last sender goes
    for (int n : out) {
      sum += n;
    }
    // end
    EXPECT_EQ(sum, 6);
  });
}

TEST_P(coming_from_go, select_statement) {
  run([] {
    channel<int> orders(1);
    channel<std::string> replies(1);
    std::string reply = "done";
    bool replied = false;
    // row: select
    select(on_receive(orders, [&](std::optional<int>) { FAIL() << "nothing was sent"; }),
           on_send(replies, std::move(reply), [&] { replied = true; }),
           after(5s, [] { throw timeout_error(); }));
    // end
    EXPECT_TRUE(replied);
    EXPECT_EQ(replies.receive(), "done");
  });
}

TEST_P(coming_from_go, select_with_default) {
  run([] {
    channel<int> orders;
    bool idle = false;
    // row: select with default
    if (!try_select(on_receive(orders))) {
      idle = true;
    }
    received<int> order = orders.try_receive();  // of one channel
    // end
    EXPECT_TRUE(idle);
    EXPECT_EQ(order.status(), channel_status::would_block);
  });
}

TEST_P(coming_from_go, with_cancel) {
  run([] {
    event stop;
    stop.set();
    // row: context.WithCancel
    cancel_scope scope;
    fiber<> watcher = spawn([&] {
      stop.wait();
      scope.cancel();
    });
    bool served = scope.run([] { serve(); });
    // end
    EXPECT_FALSE(served);
  });
}

TEST_P(coming_from_go, ctx_done) {
  run([] {
    channel<int> orders;
    event begun;
    fiber<> worker = spawn([&] {
      // row: case <-ctx.Done()
      begun.set();
      for (int order : orders) {  // throws `cancelled` when the fiber is: there is nothing to write
        (void)square(order);
      }
      // end
    });
    begun.wait();
    worker.cancel();
    EXPECT_THROW(worker.join(), fiber_cancelled);
  });
}

TEST_P(coming_from_go, ctx_err) {
  run([] {
    bool told = false;
    // row: ctx.Err() != nil
    cancel_scope scope;
    scope.cancel();
    scope.run([&] {
      told = this_fiber::cancel_requested();  // asks, and neither waits nor throws
    });
    // end
    EXPECT_TRUE(told);
  });
}

TEST_P(coming_from_go, context_with_timeout) {
  run([] {
    bool late = false;
    // row: context.WithTimeout
    try {
      with_timeout(10ms, [] { serve(); });
    } catch (const timeout_error&) {  // context.DeadlineExceeded
      late = true;
    }
    // end
    EXPECT_TRUE(late);
  });
}

TEST_P(coming_from_go, context_with_value) {
  run([] {
    // row: context.WithValue
    static const context_var<std::string> user("nobody");
    std::string seen = user.with("ada", [] { return spawn([] { return user.get(); }).join(); });
    // end
    EXPECT_EQ(seen, "ada");
  });
}

TEST_P(coming_from_go, without_cancel) {
  run([] {
    bool cleaned = false;
    cancel_scope scope;
    scope.cancel();
    scope.run([&] {
      // row: context.WithoutCancel
      shield::run([&] {
        this_fiber::sleep_for(1ms);
        cleaned = true;
      });
      // end
      this_fiber::yield();
      ADD_FAILURE();
    });
    EXPECT_TRUE(cleaned);
  });
}

TEST_P(coming_from_go, after_func) {
  run([] {
    std::atomic<bool> told = false;
    event begun;
    fiber<> worker = spawn([&] {
      // row: context.AfterFunc
      std::stop_callback tell(this_fiber::get_stop_token(), [&] { told = true; });  // by whoever cancels
      // end
      begun.set();
      serve();
    });
    begun.wait();
    worker.cancel();
    EXPECT_TRUE(told);
  });
}

TEST_P(coming_from_go, errgroup) {
  run([] {
    std::string what;
    // row: errgroup
    try {
      with_task_group([](task_group& group) {
        group.spawn(serve);  // is cancelled when the other one fails
        group.spawn([] { throw std::runtime_error("on purpose"); });
      });
    } catch (const std::runtime_error& first) {
      what = first.what();
    }
    // end
    EXPECT_EQ(what, "on purpose");
  });
}

TEST_P(coming_from_go, errgroup_set_limit) {
  run([] {
    std::vector<int> squares;
    const std::vector<int> numbers{1, 2, 3, 4};
    // row: errgroup.SetLimit, a worker pool
    fiber_pool pool(4);
    for (int each : pool.map(numbers, square)) {
      squares.push_back(each);
    }
    // end
    EXPECT_EQ(squares, (std::vector<int>{1, 4, 9, 16}));
  });
}

TEST_P(coming_from_go, mutexes) {
  run([] {
    int reads = 0;
    // row: sync.Mutex, RWMutex
    mutex lock;
    shared_mutex table_lock;
    {
      const std::lock_guard guard(lock);  // Lock, defer Unlock
      const std::shared_lock reading(table_lock);
      ++reads;
    }
    // end
    EXPECT_EQ(reads, 1);
    EXPECT_TRUE(table_lock.try_lock());
    table_lock.unlock();
  });
}

TEST_P(coming_from_go, once) {
  run([] {
    std::atomic<int> loads = 0;
    const auto load = [&] {
      this_fiber::yield();
      return ++loads;
    };
    with_task_group([&](task_group& group) {
      // row: sync.Once
      static mutex lock;
      static std::optional<int> loaded;
      const auto settings = [&]() -> int& {
        const std::lock_guard guard(lock);
        return loaded ? *loaded : loaded.emplace(load());  // if it throws, the next one tries again
      };
      // end
      loaded.reset();
      for (int i = 0; i < 4; ++i) {
        group.spawn([settings] { EXPECT_EQ(settings(), 1); });
      }
      group.join();
    });
    EXPECT_EQ(loads, 1);
  });
}

TEST_P(coming_from_go, cond) {
  run([] {
    int items = 0;
    // row: sync.Cond
    mutex lock;
    condition_variable changed;
    fiber<> producer = spawn([&] {
      const std::lock_guard guard(lock);
      ++items;
      changed.notify_one();  // Signal; notify_all is Broadcast
    });
    std::unique_lock guard(lock);
    changed.wait(guard, [&] { return items > 0; });
    // end
    EXPECT_EQ(items, 1);
  });
}

TEST_P(coming_from_go, weighted) {
  run([] {
    // row: semaphore.Weighted, chan struct{} as a semaphore
    counting_semaphore<> slots(3);
    slots.acquire();
    slots.release();
    // end
    EXPECT_TRUE(slots.try_acquire());
  });
}

TEST_P(coming_from_go, panic_and_recover) {
  run([] {
    bool recovered = false;
    bool unlocked = false;
    // row: panic, recover, defer
    struct deferred {
      bool& unlocked;
      ~deferred() { unlocked = true; }
    };
    try {
      const deferred at_exit{unlocked};
      throw std::runtime_error("on purpose");
    } catch (const std::exception&) {
      recovered = true;
    }
    // end
    EXPECT_TRUE(recovered);
    EXPECT_TRUE(unlocked);
  });
}

TEST_P(coming_from_go, panic_in_a_goroutine) {
  run([] {
    bool heard = false;
    // row: a panic in a goroutine
    fiber<> failing = spawn([] { throw std::runtime_error("on purpose"); });
    try {
      failing.join();
    } catch (const std::exception&) {  // the program goes on
      heard = true;
    }
    // end
    EXPECT_TRUE(heard);
  });
}

TEST_P(coming_from_go, runtime_package) {
  run([] {
    // row: runtime.Gosched, NumGoroutine
    this_fiber::yield();
    std::uint64_t fibers = stats().fibers;
    // end
    EXPECT_EQ(fibers, 1U);
  });
}

TEST_P(coming_from_go, lock_os_thread) {
  run([] {
    // row: runtime.LockOSThread
    fiber<bool> steady = spawn({.pinned = true}, [] {
      const std::thread::id before = std::this_thread::get_id();
      this_fiber::sleep_for(1ms);
      return std::this_thread::get_id() == before;
    });
    bool stayed = steady.join();
    // end
    EXPECT_TRUE(stayed);
  });
}

TEST_P(coming_from_go, preemption) {
  run([] {
    std::uint64_t sum = 0;
    // row: preemption
    for (std::uint64_t n = 0; n < 100'000; ++n) {
      sum += n;
      if (n % 4096 == 0) {
        this_fiber::checkpoint();
      }
    }
    // end
    EXPECT_EQ(sum, 4'999'950'000U);
  });
}

int depth_of(int levels) {
  volatile char frame[1024] = {};
  return levels == 0 ? frame[0] : 1 + depth_of(levels - 1);
}

TEST_P(coming_from_go, stacks) {
  run([] {
    // row: stacks that grow
    fiber<int> deep = spawn({.stack_size_bytes = 8 << 20}, depth_of, 2000);  // only what is touched costs memory
    int depth = deep.join();
    // end
    EXPECT_EQ(depth, 2000);
  });
}

TEST_P(coming_from_go, timers) {
  run([] {
    bool fired = false;
    // row: time.AfterFunc, Timer.Stop
    fiber<> timer = spawn_after(1h, [&] { fired = true; });
    timer.cancel();
    timer.wait();
    // end
    EXPECT_FALSE(fired);
  });
}

TEST_P(coming_from_go, ticker) {
  run([] {
    int ticks = 0;
    // row: time.Ticker
    for (time_point next = clock::now(); ticks < 3; ++ticks) {
      next += 2ms;
      this_fiber::sleep_until(next);
    }
    // end
    EXPECT_EQ(ticks, 3);
  });
}

TEST_P(coming_from_go, blocking_calls) {
  run([] {
    const std::string text = "select";
    // row: cgo, system calls that block
    std::size_t rows = blocking([&] { return query(text); });
    // end
    EXPECT_EQ(rows, 6U);
  });
}

TEST_P(coming_from_go, listen) {
  run([] {
    // row: net.Listen, Accept
    io::tcp_listener listener(io::endpoint("127.0.0.1", 0));
    task_group handlers(on_error::isolate);
    fiber<> server = spawn([&] {
      for (;;) {
        handlers.spawn([](io::tcp_stream peer) { peer.write_all("hello"); }, listener.accept_with_backoff());
      }
    });
    // end
    io::tcp_stream client = io::connect(listener.local_endpoint());
    std::array<char, 5> greeting{};
    client.read_exactly(greeting);
    EXPECT_EQ(std::string_view(greeting.data(), greeting.size()), "hello");
  });
}

TEST_P(coming_from_go, http_server) {
  run([] {
    // row: Serve
    io::tcp_server server(io::endpoint("127.0.0.1", 0), [](io::tcp_stream peer) { peer.write_all("hello"); });
    fiber<> serving = spawn([&] { server.serve(); });
    // end
    io::tcp_stream client = io::connect(server.local_endpoint());
    std::array<char, 5> greeting{};
    client.read_exactly(greeting);
    EXPECT_EQ(std::string_view(greeting.data(), greeting.size()), "hello");
    // row: Shutdown
    std::size_t cut_short = server.drain(5s);  // Shutdown with a context of 5 s, then Close
    // end
    EXPECT_EQ(cut_short, 0U);
  });
}

TEST_P(coming_from_go, buffers_and_options) {
  run([] {
    const test::echo_service service;
    io::tcp_stream conn = io::connect(service.where());
    const std::vector<std::byte> header(4, std::byte{'h'});
    const std::array<std::byte, 2> body{std::byte{'b'}, std::byte{'b'}};
    // row: net.Buffers, SetKeepAliveConfig
    conn.keep_alive(true, {.idle = 30s, .interval = 5s, .count = 4});
    conn.write_all({header, body});  // in one call to the kernel
    // end
    std::array<char, 6> back{};
    conn.read_exactly(back);
    EXPECT_EQ(std::string_view(back.data(), back.size()), "hhhhbb");
    EXPECT_EQ(conn.keep_alive()->idle, 30s);
  });
}

TEST_P(coming_from_go, dial) {
  run([] {
    const test::echo_service service;
    const io::endpoint server = service.where();
    // row: net.DialTimeout, io.ReadFull
    io::tcp_stream peer = with_timeout(5s, [&] { return io::connect(server); });
    peer.write_all("ping");
    std::array<char, 4> answer;
    peer.read_exactly(answer);
    // end
    EXPECT_EQ(std::string_view(answer.data(), answer.size()), "ping");
  });
}

TEST_P(coming_from_go, dial_by_name) {
  run([] {
    const test::echo_service service;
    const std::uint16_t port = service.where().port();
    // row: net.Dial, a name
    io::tcp_stream peer = with_timeout(5s, [&] { return io::connect("localhost", port); });
    // end
    peer.write_all("x");
    std::array<char, 1> echo{};
    peer.read_exactly(echo);
    EXPECT_EQ(echo[0], 'x');
  });
}

TEST_P(coming_from_go, lookup) {
  run([] {
    // row: net.LookupHost
    std::error_code err;
    std::vector<io::endpoint> found = io::resolve("localhost", 80, err);
    if (err == io::resolve_errc::host_not_found) {  // dnsErr.IsNotFound
      found.clear();
    }
    // end
    EXPECT_FALSE(found.empty());
  });
}

TEST_P(coming_from_go, set_deadline) {
  run([] {
    const test::echo_service service;
    io::tcp_stream peer = io::connect(service.where());
    std::array<char, 4> answer{};
    // row: SetReadDeadline
    bool in_time = try_with_timeout(10ms, [&] { peer.read_exactly(answer); });
    peer.write_all("ping");
    peer.read_exactly(answer);  // the stream is as it was
    // end
    EXPECT_FALSE(in_time);
    EXPECT_EQ(answer[0], 'p');
  });
}

TEST_P(coming_from_go, errors_as_values) {
  run([] {
    io::endpoint nobody = io::tcp_listener(io::endpoint("127.0.0.1", 0)).local_endpoint();
    // row: err != nil
    std::error_code err;
    io::tcp_stream peer = io::connect(nobody, err);
    if (err) {
      peer.close();
    }
    // end
    EXPECT_EQ(err, std::errc::connection_refused);
    EXPECT_FALSE(peer.is_open());
  });
}

TEST_P(coming_from_go, files) {
  run([] {
    const std::string path = std::filesystem::temp_directory_path() / ("aramid_go_" + std::to_string(::getpid()));
    std::string text;
    // row: os.OpenFile, ReadAt
    io::file notes = io::file::open(path, {.read = true, .write = true, .create = true});
    notes.write_all("0123456789");
    std::array<char, 3> part;
    std::size_t count = notes.read_at(4, std::as_writable_bytes(std::span(part)));
    // end
    std::filesystem::remove(path);
    EXPECT_EQ(std::string_view(part.data(), count), "456");
  });
}

TEST_P(coming_from_go, signal_notify) {
  run([] {
    // row: signal.NotifyContext
    io::signal_set stop{SIGUSR1, SIGUSR2};
    with_task_group([&](task_group& serving) {
      serving.spawn(serve);
      ::kill(::getpid(), SIGUSR1);
      stop.wait();
      serving.cancel();
    });
    // end
  });
}

TEST_P(coming_from_go, goroutine_dump) {
  run([] {
    std::string text;
    // row: runtime.Stack
    text = dump_fibers();
    // end
    EXPECT_NE(text.find("'root'"), std::string::npos);
  });
}

TEST_F(coming_from_go_run, all_goroutines_are_asleep) {
  test::captured_log log;
  channel<int> never;
  const auto program = [&] { (void)never.receive(); };
  std::thread rescuer([&] {
    EXPECT_TRUE(test::eventually([&] {
      std::this_thread::sleep_for(5ms);
      return log.count("deadlock") != 0;
    }));
    never.close();
  });
  // row: all goroutines are asleep
  run(program, {.report_deadlocks = true, .dump_on_sigquit = true});
  // end
  rescuer.join();
  EXPECT_GE(log.count("channel::receive"), 1U);
}

}  // namespace
