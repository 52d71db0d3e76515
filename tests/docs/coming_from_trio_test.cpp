// The rows of docs/coming_from_trio.md.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <deque>
#include <exception>
#include <filesystem>
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

class coming_from_trio : public test::runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, coming_from_trio, test::few_or_many);

class coming_from_trio_run : public test::leaves_nothing {};

int square(int n) { return n * n; }
void sleep_for_ever() { this_fiber::sleep_for(24h); }

TEST_F(coming_from_trio_run, run) {
  int ticks = 0;
  // row: run
  run([&] {
    this_fiber::sleep_for(1ms);
    ++ticks;
  });
  // end
  EXPECT_EQ(ticks, 1);
}

TEST_P(coming_from_trio, nursery) {
  run([] {
    std::atomic<int> done = 0;
    // row: open_nursery, start_soon
    with_task_group([&](task_group& nursery) {
      nursery.spawn([&] { ++done; });
      nursery.spawn([&] { ++done; });
    });  // both have ended
    // end
    EXPECT_EQ(done, 2);
  });
}

TEST_P(coming_from_trio, results) {
  run([] {
    // row: results
    int sum = with_task_group([](task_group& nursery) {
      task<int> left = nursery.spawn(square, 3);
      task<int> right = nursery.spawn(square, 4);
      return left.join() + right.join();
    });
    // end
    EXPECT_EQ(sum, 25);
  });
}

// row: task_status.started
void serve(promise<io::endpoint> started) {
  io::tcp_listener listener(io::endpoint("127.0.0.1", 0));
  started.set_value(listener.local_endpoint());
  for (;;) {
    listener.accept().write_all("hello");
  }
}
// end

TEST_P(coming_from_trio, start) {
  run([] {
    with_task_group([](task_group& nursery) {
      // row: nursery.start
      promise<io::endpoint> started;
      future<io::endpoint> where = started.get_future();
      nursery.spawn(serve, std::move(started));
      io::tcp_stream client = io::connect(where.get());
      // end
      std::array<char, 5> greeting{};
      client.read_exactly(greeting);
      EXPECT_EQ(std::string_view(greeting.data(), greeting.size()), "hello");
      nursery.cancel();
    });
  });
}

TEST_P(coming_from_trio, background) {
  run([] {
    event beaten;
    // row: a nursery around background work
    {
      fiber<> heart = spawn([&] {
        for (;;) {
          beaten.set();
          this_fiber::sleep_for(1s);
        }
      });
      beaten.wait();
    }  // cancelled, and joined
    // end
    EXPECT_TRUE(beaten.is_set());
  });
}

TEST_P(coming_from_trio, cancel_scope_of_ones_own) {
  run([] {
    // row: CancelScope
    cancel_scope scope;
    fiber<> somebody = spawn([&] { scope.cancel(); });  // from any fiber or thread
    bool came_to_its_end = scope.run([] { sleep_for_ever(); });
    // end
    EXPECT_FALSE(came_to_its_end);
    EXPECT_TRUE(scope.cancel_requested());
  });
}

TEST_P(coming_from_trio, nursery_cancel) {
  run([] {
    // row: nursery.cancel_scope.cancel
    with_task_group([](task_group& nursery) {
      nursery.spawn(sleep_for_ever);
      nursery.spawn(sleep_for_ever);
      nursery.cancel();  // the children; the body goes on
    });
    // end
  });
}

TEST_P(coming_from_trio, move_on_after) {
  run([] {
    // row: move_on_after
    bool in_time = try_with_timeout(10ms, [] { sleep_for_ever(); });
    // end
    EXPECT_FALSE(in_time);
  });
}

TEST_P(coming_from_trio, fail_after) {
  run([] {
    bool late = false;
    // row: fail_after
    try {
      with_timeout(10ms, [] { sleep_for_ever(); });
    } catch (const timeout_error&) {  // trio.TooSlowError
      late = true;
    }
    // end
    EXPECT_TRUE(late);
  });
}

TEST_P(coming_from_trio, move_on_at) {
  run([] {
    // row: move_on_at, cancelled_caught
    cancel_scope scope(clock::now() + 10ms);
    bool came_to_its_end = scope.run([] { sleep_for_ever(); });
    bool was_the_deadline = scope.deadline_expired();
    // end
    EXPECT_FALSE(came_to_its_end);
    EXPECT_TRUE(was_the_deadline);
  });
}

TEST_P(coming_from_trio, nested_scopes) {
  run([] {
    bool outer_was_late = false;
    // row: nested scopes
    try {
      with_timeout(10ms, [] {
        try_with_timeout(1h, [] { sleep_for_ever(); });  // does not swallow what is not its own
        ADD_FAILURE();
      });
    } catch (const timeout_error&) {
      outer_was_late = true;
    }
    // end
    EXPECT_TRUE(outer_was_late);
  });
}

// row: CancelScope(shield=True)
void converse(channel<int>& questions, channel<std::string>& replies) {
  try {
    while (questions.receive()) {
    }
  } catch (const cancelled&) {
    shield_for(1s, [&] { replies.send("bye"); });  // move_on_after(1, shield=True)
    throw;
  }
}
// end

TEST_P(coming_from_trio, shielded) {
  run([] {
    channel<int> questions;
    channel<std::string> replies;
    fiber<> conversation = spawn([&] { converse(questions, replies); });
    questions.send(1);
    conversation.cancel();
    EXPECT_EQ(replies.receive(), "bye");
    EXPECT_THROW(conversation.join(), fiber_cancelled);
  });
}

TEST_P(coming_from_trio, level_triggered) {
  run([] {
    int waits = 0;
    // row: level-triggered
    cancel_scope scope;
    scope.cancel();
    scope.run([&] {
      for (int i = 0; i < 3; ++i) {
        try {
          this_fiber::checkpoint();
        } catch (const cancelled&) {  // swallowed, which it should not be: every later wait throws again
          ++waits;
        }
      }
    });
    // end
    EXPECT_EQ(waits, 3);
  });
}

TEST_P(coming_from_trio, catch_all) {
  run([] {
    bool failed = false;
    // row: except BaseException
    bool in_time = try_with_timeout(10ms, [&] {
      try {
        sleep_for_ever();
      } catch (...) {
        rethrow_if_cancelled();
        failed = true;
      }
    });
    // end
    EXPECT_FALSE(in_time);
    EXPECT_FALSE(failed);
  });
}

TEST_P(coming_from_trio, exception_group) {
  run([] {
    // row: ExceptionGroup
    std::vector<std::exception_ptr> errors;
    try {
      with_task_group(errors, [](task_group& nursery) {
        nursery.spawn([] { throw std::runtime_error("the child's"); });
        try {
          sleep_for_ever();
        } catch (const cancelled&) {  // by the child's failure
          throw std::logic_error("the body's");
        }
      });
    } catch (const std::runtime_error&) {  // the first one; `errors` has both
    }
    // end
    EXPECT_EQ(errors.size(), 2U);
  });
}

TEST_P(coming_from_trio, isolated_children) {
  run([] {
    std::atomic<int> failures = 0;
    bool lived_on = false;
    // row: a nursery whose children may fail
    task_group handlers(on_error::isolate, [&](std::exception_ptr) { ++failures; });
    handlers.spawn([] { throw std::runtime_error("this one only"); });
    handlers.spawn([&] { lived_on = true; });
    handlers.join();
    // end
    EXPECT_EQ(failures, 1);
    EXPECT_TRUE(lived_on);
  });
}

TEST_P(coming_from_trio, memory_channel) {
  run([] {
    int sum = 0;
    // row: open_memory_channel
    with_task_group([&](task_group& nursery) {
      auto [send, receive] = make_channel<int>(10);
      for (int i = 0; i < 2; ++i) {
        nursery.spawn([send = send] { send.send(21); });  // a copy is a clone()
      }
      send.reset();  // the last sender to go closes the channel
      for (int item : receive) {
        sum += item;
      }
    });
    // end
    EXPECT_EQ(sum, 42);
  });
}

TEST_P(coming_from_trio, nowait_and_the_ends) {
  run([] {
    bool broken = false;
    // row: WouldBlock, EndOfChannel, BrokenResourceError
    auto [send, receive] = make_channel<int>(1);
    received<int> nothing = receive.try_receive();  // status() says why: would_block
    channel_status put = send.try_send(1);
    channel_status full = send.try_send(2);
    receive.reset();
    try {
      send.send(3);
    } catch (const channel_closed&) {  // nobody will receive it
      broken = true;
    }
    // end
    EXPECT_EQ(nothing.status(), channel_status::would_block);
    EXPECT_EQ(put, channel_status::ok);
    EXPECT_EQ(full, channel_status::would_block);
    EXPECT_TRUE(broken);
  });
}

TEST_P(coming_from_trio, capacity_limiter) {
  run([] {
    std::atomic<int> done = 0;
    // row: CapacityLimiter
    fiber_pool limiter(2);
    for (int i = 0; i < 10; ++i) {
      limiter.submit([&] { ++done; });  // waits while two run
    }
    limiter.join();
    // end
    EXPECT_EQ(done, 10);
  });
}

TEST_P(coming_from_trio, semaphore) {
  run([] {
    // row: Semaphore
    counting_semaphore<> slots(2);
    slots.acquire();
    bool another = slots.try_acquire();  // acquire_nowait
    bool third = slots.try_acquire_for(1ms);
    slots.release(2);
    // end
    EXPECT_TRUE(another);
    EXPECT_FALSE(third);
  });
}

TEST_P(coming_from_trio, checkpoint) {
  run([] {
    std::uint64_t sum = 0;
    // row: checkpoint
    for (std::uint64_t n = 0; n < 100'000; ++n) {
      sum += n;
      if (n % 1024 == 0) {
        this_fiber::checkpoint();
      }
    }
    // end
    EXPECT_EQ(sum, 4'999'950'000U);
  });
}

// row: ParkingLot
class parking_lot {
public:
  void park() {
    enter_wait();
    parker wait;
    {
      const std::lock_guard guard(lock_);
      parked_.push_back(wait.token());
    }
    if (wait.park() == wake_reason::cancelled) {
      throw_cancelled();  // its token stays behind, where it can wake nobody
    }
  }
  void unpark_one() {
    const std::lock_guard guard(lock_);
    bool woken = false;
    while (!woken && !parked_.empty()) {
      woken = unpark(parked_.front());
      parked_.pop_front();
    }
  }
  // end
  bool empty() {
    const std::lock_guard guard(lock_);
    return parked_.empty();
  }

private:
  std::mutex lock_;
  std::deque<park_token> parked_;
};

TEST_P(coming_from_trio, parking_lot) {
  run([] {
    parking_lot lot;
    fiber<> cancelled_one = spawn([&] { lot.park(); });
    EXPECT_TRUE(test::eventually([&] { return !lot.empty(); }));
    cancelled_one.cancel();
    EXPECT_THROW(cancelled_one.join(), fiber_cancelled);
    bool woken = false;
    fiber<> parked = spawn([&] {
      lot.park();
      woken = true;
    });
    EXPECT_TRUE(test::eventually([&] {
      lot.unpark_one();
      return parked.done();
    }));
    parked.join();
    EXPECT_TRUE(woken);
  });
}

TEST_P(coming_from_trio, event) {
  run([] {
    // row: Event
    event ready;
    fiber<> setter = spawn([&] { ready.set(); });
    ready.wait();
    // end
    EXPECT_TRUE(ready.is_set());
  });
}

TEST_P(coming_from_trio, lock_and_condition) {
  run([] {
    bool ready = false;
    // row: Lock, Condition
    mutex lock;
    condition_variable changed;
    fiber<> setter = spawn([&] {
      const std::lock_guard guard(lock);
      ready = true;
      changed.notify_one();
    });
    std::unique_lock guard(lock);
    changed.wait(guard, [&] { return ready; });
    // end
    EXPECT_TRUE(guard.owns_lock());
  });
}

TEST_P(coming_from_trio, sleep) {
  run([] {
    const auto begin = clock::now();
    // row: sleep, sleep_until, sleep_forever
    this_fiber::sleep_for(2ms);
    this_fiber::sleep_until(clock::now() + 2ms);
    try_with_timeout(2ms, [] { this_fiber::sleep_until(time_point::max()); });
    // end
    EXPECT_GE(clock::now() - begin, 6ms);
  });
}

TEST_P(coming_from_trio, to_thread) {
  run([] {
    // row: to_thread.run_sync
    std::string host = blocking([] {
      char name[256] = "";
      ::gethostname(name, sizeof name - 1);
      return std::string(name);
    });
    // end
    EXPECT_FALSE(host.empty());
  });
}

TEST_P(coming_from_trio, check_cancelled) {
  run([] {
    // row: from_thread.check_cancelled
    bool in_time = try_with_timeout(20ms, [] {
      blocking([](std::stop_token stop) {
        while (!stop.stop_requested()) {
          std::this_thread::sleep_for(1ms);  // a thread of its own: it may
        }
      });
      this_fiber::checkpoint();
    });
    // end
    EXPECT_FALSE(in_time);
  });
}

TEST_P(coming_from_trio, from_thread) {
  run([] {
    std::atomic<int> answer = 0;
    // row: from_thread.run
    blocking([&] {
      fiber<int> helper = spawn(square, 7);  // back on the workers
      answer = helper.join();                // blocks this thread
    });
    // end
    EXPECT_EQ(answer, 49);
  });
}

TEST_P(coming_from_trio, tcp_stream) {
  run([] {
    const test::echo_service service;
    const io::endpoint server = service.where();
    // row: open_tcp_stream
    io::tcp_stream stream = io::connect(server);
    stream.write_all("ping");                   // send_all
    stream.shutdown(io::shutdown_how::write);   // send_eof
    std::array<char, 64> buffer;
    std::size_t count = stream.read_some(buffer);  // receive_some; 0 at the end
    // end
    EXPECT_GE(count, 1U);
    EXPECT_EQ(buffer[0], 'p');
  });
}

TEST_P(coming_from_trio, open_tcp_stream_by_name) {
  run([] {
    const test::echo_service service;
    const std::uint16_t port = service.where().port();
    // row: open_tcp_stream, a name
    io::tcp_stream peer = io::connect("localhost", port);  // Happy Eyeballs, as there
    // end
    peer.write_all("x");
    std::array<char, 1> echo{};
    peer.read_exactly(echo);
    EXPECT_EQ(echo[0], 'x');
  });
}

TEST_P(coming_from_trio, serve_tcp) {
  run([] {
    // row: serve_tcp
    io::tcp_server server(io::endpoint("127.0.0.1", 0), [](io::tcp_stream peer) { peer.write_all("hello"); });
    fiber<> serving = spawn([&] { server.serve(); });  // serve_tcp
    // end
    io::tcp_stream client = io::connect(server.local_endpoint());
    std::array<char, 5> greeting{};
    client.read_exactly(greeting);
    EXPECT_EQ(std::string_view(greeting.data(), greeting.size()), "hello");
  });
}

TEST_P(coming_from_trio, signals) {
  run([] {
    int seen = 0;
    // row: open_signal_receiver
    io::signal_set signals{SIGUSR1, SIGUSR2};
    ::kill(::getpid(), SIGUSR2);
    seen = signals.wait();
    // end
    EXPECT_EQ(seen, SIGUSR2);
  });
}

TEST_P(coming_from_trio, files) {
  run([] {
    const std::string path = std::filesystem::temp_directory_path() / ("aramid_trio_" + std::to_string(::getpid()));
    // row: open_file
    io::file notes = io::file::open(path, {.read = true, .write = true, .create = true});
    notes.write_all("a line\n");
    notes.sync();
    std::uint64_t size = notes.size();
    // end
    std::filesystem::remove(path);
    EXPECT_EQ(size, 7U);
  });
}

TEST_P(coming_from_trio, context) {
  run([] {
    // row: contextvars
    static const context_var<int> depth(0);
    int inside = depth.with(1, [] { return spawn([] { return depth.get(); }).join(); });
    // end
    EXPECT_EQ(inside, 1);
    EXPECT_EQ(depth.get(), 0);
  });
}

}  // namespace
