// A server with a request that hogs its thread. Each byte of a request is answered with a line:
//
//     S  spins without suspending until somebody sends an E: a line when it begins, and the thread when it is over
//     s  the same for a tenth of a second of CPU time
//     E  ends it
//     T  sleeps for 20 ms, as fibers do
//     ?  stats()
//     *  (any other) the thread that the connection's fiber runs on
#include <aramid/aramid.hpp>
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

using namespace aramid;

namespace {

std::atomic<bool> over;

std::chrono::nanoseconds cpu_time() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

void spin_for(std::chrono::nanoseconds time, io::tcp_stream& peer) {
  over = false;
  peer.write_all("spinning\n");
  for (const auto end = cpu_time() + time; !over && cpu_time() < end;) {
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
      spin_for(std::chrono::minutes(1), peer);
      break;
    case 's':
      spin_for(std::chrono::milliseconds(100), peer);
      break;
    case 'E':
      over = true;
      break;
    case 'T':
      this_fiber::sleep_for(std::chrono::milliseconds(20));
      break;
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
