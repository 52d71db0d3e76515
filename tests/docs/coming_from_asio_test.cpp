// The rows of docs/coming_from_asio.md.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>

#include <aramid/aramid.hpp>
#include <aramid/io/asio.hpp>

#include "docs_fixture.hpp"

using namespace aramid;
using namespace std::chrono_literals;
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;

namespace {

class coming_from_asio : public test::runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, coming_from_asio, test::few_or_many);

class coming_from_asio_run : public test::leaves_nothing {};

/// The context of io::fiber_executor is the process's, and stays. Before any test counts descriptors.
const asio::steady_timer warm{io::fiber_executor()};

std::size_t query(const std::string& text) { return text.size(); }
int square(int n) { return n * n; }

TEST_F(coming_from_asio_run, io_context_run) {
  bool ran = false;
  // row: io_context::run
  run([&] { ran = true; });                   // on all cores
  run([&] { ran = true; }, {.workers = 1});   // on one, as an io_context that one thread runs
  // end
  EXPECT_TRUE(ran);
}

TEST_F(coming_from_asio_run, work_guard) {
  int answer = 0;
  // row: executor_work_guard, a thread that runs the io_context
  runtime rt;  // has its own threads, and needs no work to stay
  answer = rt.spawn(square, 7).join();
  rt.stop(1s);  // waits for a second, then cancels what still runs, and joins
  // end
  EXPECT_EQ(answer, 49);
}

TEST_P(coming_from_asio, co_spawn) {
  run([] {
    // row: co_spawn
    fiber<int> answer = spawn(square, 7);
    spawn([] { this_fiber::yield(); }).detach();  // asio::detached
    int value = answer.join();                    // use_future, co_await
    // end
    EXPECT_EQ(value, 49);
  });
}

TEST_F(coming_from_asio_run, post_from_a_thread) {
  std::atomic<int> sum = 0;
  // row: post
  runtime rt;
  std::thread outsider([&] { rt.spawn([&] { sum += 42; }).join(); });
  outsider.join();
  // end
  EXPECT_EQ(sum, 42);
}

// row: async_read_some, async_write
void echo(io::tcp_stream peer) {
  std::array<char, 4096> buffer;  // on the fiber's stack: no shared_from_this
  while (std::size_t count = peer.read_some(buffer)) {  // 0 is asio::error::eof
    peer.write_all(std::string_view(buffer.data(), count));
  }
}
// end

TEST_P(coming_from_asio, buffer_sequence) {
  run([] {
    const test::echo_service service;
    io::tcp_stream socket = io::connect(service.where());
    const std::vector<std::byte> header(4, std::byte{'h'});
    const std::array<std::byte, 2> body{std::byte{'b'}, std::byte{'b'}};
    // row: buffer sequence
    socket.write_all({header, body});  // spans of bytes; or a span of such spans
    // end
    std::array<char, 6> back{};
    socket.read_exactly(back);
    EXPECT_EQ(std::string_view(back.data(), back.size()), "hhhhbb");
  });
}

TEST_P(coming_from_asio, set_option) {
  run([] {
    const test::echo_service service;
    io::tcp_stream socket = io::connect(service.where());
    // row: set_option
    socket.no_delay(true);
    socket.keep_alive(true, {.idle = 30s});  // with its times
    socket.linger(0s);                       // close resets; std::nullopt is linger(false, 0)
    std::size_t doubled = socket.receive_buffer_size();
    // end
    EXPECT_TRUE(socket.no_delay());
    EXPECT_TRUE(socket.keep_alive());
    EXPECT_EQ(socket.linger(), 0s);
    EXPECT_GT(doubled, 0U);
    socket.linger(std::nullopt);  // or the service would log the reset
  });
}

TEST_P(coming_from_asio, acceptor) {
  run([] {
    // row: acceptor
    io::tcp_listener listener(io::endpoint("127.0.0.1", 0));
    task_group sessions(on_error::isolate);
    fiber<> acceptor = spawn([&] {
      for (;;) {
        sessions.spawn(echo, listener.accept_with_backoff());
      }
    });
    // end
    io::tcp_stream client = io::connect(listener.local_endpoint());
    client.write_all("ping");
    std::array<char, 4> answer{};
    client.read_exactly(answer);
    EXPECT_EQ(std::string_view(answer.data(), answer.size()), "ping");
  });
}

TEST_P(coming_from_asio, async_connect_and_async_read) {
  run([] {
    const test::echo_service service;
    const io::endpoint server = service.where();
    // row: async_connect, async_read
    io::tcp_stream socket = io::connect(server);
    socket.no_delay(true);
    socket.write_all("ping");
    std::array<char, 4> answer;
    socket.read_exactly(answer);  // all of it, or errc::end_of_stream and nothing taken
    // end
    EXPECT_EQ(std::string_view(answer.data(), answer.size()), "ping");
  });
}

TEST_P(coming_from_asio, resolver) {
  run([] {
    const test::echo_service service;
    const std::uint16_t port = service.where().port();
    // row: tcp::resolver, async_connect of a range
    std::vector<io::endpoint> found = io::resolve("localhost", std::to_string(port));  // or "https"
    io::tcp_stream peer = io::connect(found);  // as async_connect of a range, but not one after the other
    // end
    peer.write_all("x");
    std::array<char, 1> echo{};
    peer.read_exactly(echo);
    EXPECT_EQ(echo[0], 'x');
  });
}

TEST_P(coming_from_asio, make_address) {
  // row: ip::make_address, tcp::endpoint
  io::endpoint here("127.0.0.1", 7777);
  io::endpoint there = io::endpoint::parse("[::1]:7777");
  // end
  EXPECT_EQ(here.port(), there.port());
  EXPECT_EQ(there.host(), "::1");
}

TEST_P(coming_from_asio, error_code_form) {
  run([] {
    const test::echo_service service;
    io::tcp_stream socket = io::connect(service.where());
    // row: error_code, eof
    socket.shutdown(io::shutdown_how::write);  // shutdown_send
    std::error_code ec;
    std::array<char, 4> buffer;
    socket.read_exactly(buffer, ec);
    bool ended = ec == io::errc::end_of_stream;
    // end
    EXPECT_TRUE(ended);
  });
}

TEST_P(coming_from_asio, operation_aborted_by_close) {
  run([] {
    const test::echo_service service;
    io::tcp_stream socket = io::connect(service.where());
    std::error_code ec;
    fiber<> reader = spawn([&] {
      std::array<char, 4> buffer;
      (void)socket.read_some(buffer, ec);
    });
    this_fiber::sleep_for(2ms);
    // row: socket.close()
    socket.close();  // from any fiber or thread: the reader gets errc::closed
    reader.join();
    bool aborted = ec == std::errc::operation_canceled;
    // end
    EXPECT_TRUE(aborted);
    EXPECT_EQ(ec, io::errc::closed);
  });
}

TEST_P(coming_from_asio, steady_timer) {
  run([] {
    const auto begin = clock::now();
    // row: steady_timer
    this_fiber::sleep_for(2ms);  // async_wait
    fiber<> timer = spawn_after(1h, [] {});
    timer.cancel();
    timer.wait();
    // end
    EXPECT_GE(clock::now() - begin, 2ms);
    EXPECT_LT(clock::now() - begin, 1h);
  });
}

TEST_P(coming_from_asio, deadline_of_an_operation) {
  run([] {
    const test::echo_service service;
    io::tcp_stream socket = io::connect(service.where());
    std::array<char, 4> answer{};
    // row: a timer that cancels an operation
    try {
      with_timeout(10ms, [&] { socket.read_exactly(answer); });
    } catch (const timeout_error&) {  // nothing is lost, and the socket can be used on
      socket.write_all("ping");
      socket.read_exactly(answer);
    }
    // end
    EXPECT_EQ(std::string_view(answer.data(), answer.size()), "ping");
  });
}

TEST_P(coming_from_asio, cancellation_signal) {
  run([] {
    bool finished = true;
    // row: cancellation_signal
    {
      cancel_scope scope;
      fiber<> emitter = spawn([&] { scope.cancel(); });           // emit
      finished = scope.run([] { this_fiber::sleep_for(24h); });  // false: it was cancelled
    }
    // end
    EXPECT_FALSE(finished);
  });
}

TEST_P(coming_from_asio, first_of_two_operations) {
  run([] {
    channel<int> answers(1);
    answers.send(7);
    int answer = 0;
    // row: operator ||
    select(on_receive(answers, [&](std::optional<int> item) { answer = item.value_or(0); }),
           after(5s, [] { throw timeout_error(); }));
    // end
    EXPECT_EQ(answer, 7);
  });
}

TEST_P(coming_from_asio, both_of_two_operations) {
  run([] {
    // row: operator &&
    int sum = with_task_group([](task_group& group) {
      task<int> left = group.spawn(square, 3);
      task<int> right = group.spawn(square, 4);
      return left.join() + right.join();
    });
    // end
    EXPECT_EQ(sum, 25);
  });
}

TEST_P(coming_from_asio, strand_as_a_mutex) {
  run([] {
    int total = 0;
    // row: strand
    mutex lock;
    with_task_group([&](task_group& group) {
      for (int i = 0; i < 100; ++i) {
        group.spawn([&] {
          const std::lock_guard guard(lock);
          ++total;
        });
      }
    });
    // end
    EXPECT_EQ(total, 100);
  });
}

TEST_P(coming_from_asio, strand_as_a_fiber) {
  run([] {
    int total = 0;
    // row: strand, a queue of handlers
    channel<std::function<void()>> inbox(64);
    fiber<> strand = spawn([&] {
      for (const std::function<void()>& handler : inbox) {  // one after the other, in the order in which they came
        handler();
      }
    });
    for (int i = 0; i < 100; ++i) {
      inbox.send([&] { ++total; });
    }
    inbox.close();
    strand.join();
    // end
    EXPECT_EQ(total, 100);
  });
}

TEST_P(coming_from_asio, writing_from_several_fibers) {
  run([] {
    const test::echo_service service;
    io::tcp_stream socket = io::connect(service.where());
    std::string received;
    // row: a queue of writes
    {
      auto [lines, to_write] = make_channel<std::string>(64);
      fiber<> writer = spawn([&socket, to_write = std::move(to_write)] {
        for (const std::string& line : to_write) {
          socket.write_all(line);
        }
      });
      lines.send("one\n");  // from as many fibers as you like: the socket has one writer
      lines.send("two\n");
      lines.reset();
      writer.join();
    }
    // end
    received.resize(8);
    socket.read_exactly(received);
    EXPECT_EQ(received, "one\ntwo\n");
  });
}

TEST_P(coming_from_asio, channels) {
  run([] {
    // row: experimental::channel
    channel<int> numbers(2);
    channel_status sent = numbers.try_send(1);
    numbers.send(2);
    std::optional<int> first = numbers.receive();
    // end
    EXPECT_EQ(sent, channel_status::ok);
    EXPECT_EQ(first, 1);
  });
}

TEST_P(coming_from_asio, thread_pool_for_computing) {
  run([] {
    int sum = 0;
    const std::vector<int> numbers{1, 2, 3};
    // row: thread_pool, computing
    fiber_pool pool(8);
    for (int each : pool.map_unordered(numbers, square)) {
      sum += each;
    }
    // end
    EXPECT_EQ(sum, 14);
  });
}

TEST_P(coming_from_asio, thread_pool_for_blocking) {
  run([] {
    const std::string text = "select";
    // row: thread_pool, blocking
    std::size_t rows = blocking([&] { return query(text); });
    // end
    EXPECT_EQ(rows, 6U);
  });
}

TEST_P(coming_from_asio, completion_token_of_a_callback_api) {
  run([] {
    const auto async_lookup = [](std::function<void(int)> done) { std::thread(std::move(done), 42).detach(); };
    // row: async_initiate
    promise<int> result;
    future<int> waiting = result.get_future();
    async_lookup([&](int value) { result.set_value(value); });  // anything that calls back, from any thread
    int value = waiting.get();
    // end
    EXPECT_EQ(value, 42);
  });
}

TEST_F(coming_from_asio_run, back_into_an_io_context) {
  int answer = 0;
  runtime rt;
  // row: bind_executor
  asio::io_context loop;
  auto more_to_come = asio::make_work_guard(loop);
  fiber<int> work = rt.spawn(square, 7);
  work.on_done([&] {  // on a worker, where it must not suspend: hand it over
    asio::post(loop, [&] {
      answer = work.join();  // on the loop's thread, and done already
      more_to_come.reset();
    });
  });
  loop.run();
  // end
  EXPECT_EQ(answer, 49);
  rt.stop();  // the worker may still be on its way out of `post`
}

TEST_P(coming_from_asio, io_context_in_a_fiber_and_its_operations) {
  run([] {
    // row: a thread that runs an io_context
    asio::io_context loop;
    auto more_to_come = asio::make_work_guard(loop);
    fiber<> loop_runner = spawn([&] {
      blocking([&](std::stop_token stop) {  // on a thread of its own, until the fiber is cancelled
        std::stop_callback on_stop(stop, [&] { loop.stop(); });
        loop.run();
      });
    });
    // end
    boost::system::error_code ec = asio::error::operation_aborted;
    // row: an operation of an io_context's
    asio::steady_timer timer(loop, 1ms);
    promise<boost::system::error_code> done;
    future<boost::system::error_code> fired = done.get_future();
    timer.async_wait([done = std::move(done)](boost::system::error_code result) mutable { done.set_value(result); });
    ec = fired.get();  // only this fiber waits
    // end
    EXPECT_FALSE(ec);
    loop_runner.cancel();
    loop_runner.wait();
    EXPECT_TRUE(loop.stopped());
  });
}

// Beast.

using stream_type = io::asio_stream<io::tcp_stream>;

/// Answers each request with its target.
class http_service {
public:
  [[nodiscard]] io::endpoint where() const { return listener_.local_endpoint(); }

private:
  static void answer(io::tcp_stream peer) {
    stream_type stream(std::move(peer));
    beast::flat_buffer buffer;
    http::request<http::string_body> request;
    http::read(stream, buffer, request);
    if (websocket::is_upgrade(request)) {
      websocket::stream<stream_type> socket(std::move(stream));
      socket.accept(request);
      beast::flat_buffer message;
      socket.read(message);
      socket.write(message.data());
      boost::system::error_code ec;
      socket.read(message, ec);
      return;
    }
    http::response<http::string_body> response(http::status::ok, 11);
    response.body() = std::string(request.target());
    response.prepare_payload();
    http::write(stream, response);
  }

  io::tcp_listener listener_{io::endpoint("127.0.0.1", 0)};
  task_group peers_{on_error::isolate};
  fiber<> acceptor_ = spawn([this] {
    for (;;) {
      peers_.spawn(answer, listener_.accept());
    }
  });
};

TEST_P(coming_from_asio, beast_http) {
  run([] {
    const http_service service;
    const io::endpoint server = service.where();
    http::request<http::empty_body> request(http::verb::get, "/page", 11);
    http::response<http::string_body> response;
    // row: http::async_read, http::async_write
    io::asio_stream stream(io::connect(server));
    http::write(stream, request);
    beast::flat_buffer buffer;
    http::read(stream, buffer, response);
    // end
    EXPECT_EQ(response.body(), "/page");
  });
}

TEST_P(coming_from_asio, beast_deadline) {
  run([] {
    const http_service service;
    io::asio_stream stream(io::connect(service.where()));
    beast::flat_buffer buffer;
    // row: beast::tcp_stream::expires_after
    http::response_parser<http::string_body> parser;
    if (!try_with_timeout(10ms, [&] { http::read(stream, buffer, parser); })) {
      http::write(stream, http::request<http::empty_body>(http::verb::get, "/page", 11));
      http::read(stream, buffer, parser);  // the same buffer and parser: it goes on where it was
    }
    // end
    EXPECT_EQ(parser.get().body(), "/page");
  });
}

TEST_P(coming_from_asio, beast_websocket) {
  run([] {
    const http_service service;
    const io::endpoint server = service.where();
    beast::flat_buffer message;
    // row: websocket::stream
    websocket::stream<io::asio_stream<io::tcp_stream>> socket(io::connect(server));
    socket.handshake("localhost", "/chat");
    socket.write(asio::buffer("hello", 5));
    socket.read(message);
    with_timeout(5s, [&] { socket.close(websocket::close_code::normal); });  // it waits for the peer's close
    // end
    EXPECT_EQ(beast::buffers_to_string(message.data()), "hello");
  });
}

TEST_P(coming_from_asio, asios_composed_operations) {
  run([] {
    const test::echo_service service;
    // row: async_read_until
    io::asio_stream stream(io::connect(service.where()));
    asio::write(stream, asio::buffer("one\ntwo\n", 8));
    asio::streambuf lines;
    std::size_t first = asio::read_until(stream, lines, '\n');

    stream.next_layer().shutdown(io::shutdown_how::write);
    boost::system::error_code ec;
    asio::read(stream, lines, ec);
    bool ended = ec == asio::error::eof;
    // end
    EXPECT_EQ(first, 4U);
    EXPECT_EQ(lines.size(), 8U);
    EXPECT_TRUE(ended);
  });
}

TEST_P(coming_from_asio, signal_set) {
  run([] {
    // row: signal_set
    io::signal_set stop{SIGUSR1, SIGUSR2};
    ::kill(::getpid(), SIGUSR1);
    int number = stop.wait();
    // end
    EXPECT_EQ(number, SIGUSR1);
  });
}

TEST_P(coming_from_asio, assign_and_native_handle) {
  run([] {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    // row: assign, native_handle, release
    io::tcp_stream left = io::tcp_stream::adopt(pair[0]);  // any connected stream socket
    io::tcp_stream right = io::tcp_stream::adopt(pair[1]);
    left.write_all("ping");
    std::array<char, 4> answer;
    right.read_exactly(answer);
    int fd = left.release();  // ours to close again
    // end
    EXPECT_EQ(fd, pair[0]);
    EXPECT_EQ(::close(fd), 0);
    EXPECT_EQ(std::string_view(answer.data(), answer.size()), "ping");
  });
}

}  // namespace
