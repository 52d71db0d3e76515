// A server with a request that hogs its thread. Each byte of a request is answered with a line:
//
//     S  spins without suspending until somebody sends an E, for ten seconds of CPU time at most: a line when it begins, and the thread when it
//        is over
//     s  the same for a tenth of a second
//     E  ends it
//     T  sleeps for 20 ms, as fibers do: the thread before it
//     ?  stats()
//     *  (any other) the thread that the connection's fiber runs on
#include <aramid/aramid.hpp>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <span>
#include <string>
#include <string_view>

using namespace aramid;

namespace {

std::atomic<bool> over;

std::chrono::nanoseconds cpu_time() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

/// The first line goes out without aramid: whoever has it may count on the thread being kept. The clock is a system call, in which the kernel would do
/// for the ring what it can do only in one, so it is seldom looked at.
void spin_for(std::chrono::nanoseconds time, const io::tcp_stream& peer) {
  over = false;
  constexpr std::string_view line = "spinning\n";
  (void)::send(peer.native_handle(), line.data(), line.size(), MSG_NOSIGNAL);
  const auto end = cpu_time() + time;
  for (unsigned i = 1; !over && (i % (1U << 20) != 0 || cpu_time() < end); ++i) {
  }
}

std::string statistics_line() {
  const statistics now = stats();
  return "steals " + std::to_string(now.steals) + " migrations " + std::to_string(now.migrations) + " helps " +
         std::to_string(now.helps) + " submissions " + std::to_string(now.submissions) + " workers " +
         std::to_string(now.workers) + " driver " + std::string(now.driver);
}

std::string answer(char request, io::tcp_stream& peer) {
  switch (request) {
    case 'S':
      spin_for(std::chrono::seconds(10), peer);
      break;
    case 's':
      spin_for(std::chrono::milliseconds(100), peer);
      break;
    case 'E':
      over = true;
      break;
    case 'T': {
      std::string armed_on = std::to_string(gettid());
      this_fiber::sleep_for(std::chrono::milliseconds(20));
      return armed_on;
    }
    case '?':
      return statistics_line();
    default:
      break;
  }
  return std::to_string(gettid());
}

void serve(io::tcp_stream peer) {
  peer.no_delay(true);
  std::array<char, 64> requests;
  while (const std::size_t count = peer.read_some(std::span(requests))) {
    for (const char request : std::span(requests).first(count)) {
      peer.write_all(answer(request, peer) + "\n");
    }
  }
}

}  // namespace

// usage: hog_server WORKERS --port 0
int main(int argc, char** argv) {
  if (argc < 2) {
    return 2;
  }
  const options opts{.workers = static_cast<unsigned>(std::atoi(argv[1]))};
  run(
      [] {
        io::tcp_listener listener(io::endpoint("127.0.0.1", 0));
        io::signal_set stop{SIGINT};
        task_group connections(on_error::isolate, [](const std::exception_ptr&) {});
        connections.spawn([&] {
          for (;;) {
            connections.spawn(serve, listener.accept());
          }
        });
        std::printf("listening on %s\n", listener.local_endpoint().to_string().c_str());
        std::fflush(stdout);
        stop.wait();
        connections.cancel();
      },
      opts);
}
