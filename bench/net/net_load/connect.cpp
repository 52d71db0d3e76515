#include "connect.hpp"

#include "clock.hpp"
#include "epoll_set.hpp"
#include "failure.hpp"

#include <netdb.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace net_load {

namespace {

// Half of the smallest backlog in common use (128): a connect beyond it would wait a second for the
// kernel's retry.
constexpr unsigned batch = 64;
constexpr std::uint64_t retry_pause_ns = 20'000'000;

bool worth_another_try(int error) noexcept {
  switch (error) {
    case ECONNREFUSED:   // the server is still starting
    case ECONNRESET:     // its backlog overflowed, tcp_abort_on_overflow
    case ETIMEDOUT:      // its backlog overflowed for long
    case EAGAIN:         // no local port free, as some kernels say it
    case EADDRNOTAVAIL:  // no local port free: earlier runs are in TIME_WAIT
      return true;
    default:
      return false;
  }
}

// State of connect_all: indices of connections not yet tried, on the way, and waiting for another
// try.
class connector {
public:
  connector(const options& settings, const server_address& server,
            std::vector<connection>& connections)
      : options_(settings),
        server_(server),
        connections_(connections),
        deadline_ns_(now_ns() + to_ns(settings.timeout_seconds)) {}

  void run() {
    while (open_ < connections_.size()) {
      const std::uint64_t now = now_ns();
      if (now >= deadline_ns_) {
        give_up(last_error_ == 0 ? ETIMEDOUT : last_error_);
      }
      start_batch(now);
      finish_some();
    }
  }

private:
  void start_batch(std::uint64_t now) {
    while (in_flight_ < batch && next_ < connections_.size()) {
      start(connections_[next_++]);
    }
    if (now < retry_at_ns_) {
      return;
    }
    while (in_flight_ < batch && !refused_.empty()) {
      connection& again = connections_[refused_.back()];
      refused_.pop_back();
      start(again);
    }
  }

  void start(connection& peer) {
    if (const int error = peer.start_connect(server_); error != 0) {
      failed(peer, error);
      return;
    }
    epoll_.add(peer.descriptor(), EPOLLOUT, peer.index());
    ++in_flight_;
  }

  void finish_some() {
    for (const epoll_event& event : epoll_.wait(milliseconds_until(0, retry_pause_ns))) {
      connection& peer = connections_[event.data.u32];
      --in_flight_;
      if (const int error = peer.finish_connect(); error != 0) {
        failed(peer, error);
        continue;
      }
      // Gone from this epoll: from now on it belongs to the load's.
      epoll_.remove(peer.descriptor());
      ++open_;
    }
  }

  void failed(connection& peer, int error) {
    if (error == EMFILE || error == ENFILE) {
      throw bad_usage("socket for connection " + std::to_string(peer.index()) + ": " +
                      std::strerror(error));
    }
    if (!worth_another_try(error)) {
      give_up(error);
    }
    last_error_ = error;
    refused_.push_back(peer.index());
    retry_at_ns_ = now_ns() + retry_pause_ns;
  }

  [[noreturn]] void give_up(int error) const {
    throw server_unreachable("connect to " + options_.host + ":" + std::to_string(options_.port) +
                             ": " + std::strerror(error) + " (" + std::to_string(open_) + " of " +
                             std::to_string(connections_.size()) + " connections were open)");
  }

  const options& options_;
  const server_address& server_;
  epoll_set epoll_;
  std::vector<connection>& connections_;
  std::vector<unsigned> refused_;
  std::uint64_t deadline_ns_;
  std::uint64_t retry_at_ns_ = 0;
  std::size_t next_ = 0;
  std::size_t open_ = 0;
  unsigned in_flight_ = 0;
  int last_error_ = 0;
};

}  // namespace

void reserve_descriptors(unsigned connections) {
  constexpr rlim_t for_the_rest = 16;  // standard streams, epoll, and the like
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (connections + for_the_rest > limit.rlim_cur) {
    throw bad_usage("--connections " + std::to_string(connections) + ": at most " +
                    std::to_string(limit.rlim_cur - for_the_rest) +
                    " fit the descriptor limit (ulimit -n) of " + std::to_string(limit.rlim_cur));
  }
}

server_address resolve(const options& settings) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(settings.port);
  if (const int error = ::getaddrinfo(settings.host.c_str(), port.c_str(), &hints, &found);
      error != 0) {
    throw bad_usage("--host " + settings.host + ": " + ::gai_strerror(error));
  }
  server_address server;
  std::memcpy(&server.storage, found->ai_addr, found->ai_addrlen);
  server.length = found->ai_addrlen;
  ::freeaddrinfo(found);
  return server;
}

void connect_all(const options& settings, const server_address& server,
                 std::vector<connection>& connections) {
  connector(settings, server, connections).run();
}

}  // namespace net_load
