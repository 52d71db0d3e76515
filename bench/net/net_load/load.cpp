#include "load.hpp"

#include "clock.hpp"
#include "connect.hpp"

#include <algorithm>
#include <cstdio>
#include <string>

namespace net_load {

namespace {

constexpr std::size_t scratch_bytes = std::size_t{64} * 1024;

}  // namespace

load::load(const options& settings)
    : options_(settings), server_(resolve(settings)), scratch_(scratch_bytes) {
  reserve_descriptors(settings.connections);
  if (settings.server_pid) {
    server_cpu_.emplace(*settings.server_pid);
  }
  connections_.reserve(settings.connections);
  for (unsigned index = 0; index < settings.connections; ++index) {
    connections_.emplace_back(settings, index);
  }
}

const figures& load::run() {
  connect();
  if (options_.mode == load_mode::hold) {
    hold();
  } else {
    loop();
  }
  drop_unanswered();
  figures_.connections_left =
      static_cast<unsigned>(std::count_if(connections_.begin(), connections_.end(),
                                          [](const connection& peer) { return peer.open(); }));
  for (connection& peer : connections_) {
    peer.close();
  }
  return figures_;
}

void load::connect() {
  const std::uint64_t start_ns = now_ns();
  connect_all(options_, server_, connections_);
  for (connection& peer : connections_) {
    epoll_.add(peer.descriptor(), EPOLLIN, peer.index());
  }
  figures_.connections_opened = options_.connections;
  figures_.connect_seconds =
      static_cast<double>(now_ns() - start_ns) / static_cast<double>(second_ns);
  loop_start_ns_ = last_progress_ns_ = now_ns();
}

void load::loop() {
  issuing_ = true;
  issue_everywhere(options_.depth);
  exchange(loop_start_ns_ + to_ns(options_.warmup_seconds));
  open_window();
  exchange(window_start_ns_ + to_ns(options_.seconds));
  close_window();
  issuing_ = false;
  exchange(now_ns() + to_ns(options_.timeout_seconds));
}

void load::hold() {
  open_window();
  issue_everywhere(1);
  exchange(window_start_ns_ + to_ns(options_.timeout_seconds));
  close_window();
  // All are answered: one more look, so that a connection the server closed meanwhile does not pass
  // as held.
  exchange(now_ns());
}

void load::open_window() {
  measuring_ = true;
  window_start_ns_ = now_ns();
  window_start_cpu_ns_ = server_cpu_ ? server_cpu_->now_ns() : 0;
}

void load::close_window() {
  measuring_ = false;
  const double window_ns = static_cast<double>(now_ns() - window_start_ns_);
  figures_.window_seconds = window_ns / static_cast<double>(second_ns);
  if (server_cpu_) {
    const std::uint64_t spent_ns = server_cpu_->now_ns() - window_start_cpu_ns_;
    figures_.server_cpu_seconds = static_cast<double>(spent_ns) / static_cast<double>(second_ns);
  }
}

void load::issue_everywhere(unsigned requests_each) {
  for (connection& peer : connections_) {
    peer.issue(requests_each, now_ns());
    outstanding_ += requests_each;
    send(peer);
  }
}

void load::exchange(std::uint64_t deadline_ns) {
  std::uint64_t now = now_ns();
  do {
    const std::uint64_t progress_ns = last_progress_ns_ + second_ns;
    for (const epoll_event& event :
         epoll_.wait(milliseconds_until(now, std::min(deadline_ns, std::max(now, progress_ns))))) {
      serve(connections_[event.data.u32], event.events);
    }
    now = now_ns();
    if (now >= progress_ns) {
      show_progress(now);
    }
  } while (now < deadline_ns && outstanding_ > 0);
}

void load::serve(connection& peer, std::uint32_t events) {
  try {
    if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) {  // input, error or hang-up
      if (const unsigned completed = peer.receive(scratch_); completed != 0) {
        complete(peer, completed);
      }
    }
  } catch (const connection_failure& failure) {
    drop(peer, failure);
    return;
  }
  if (peer.wants_to_send() || peer.polled_for_output) {
    send(peer);
  }
}

void load::complete(connection& peer, unsigned requests) {
  const std::uint64_t now = now_ns();
  for (unsigned i = 0; i < requests; ++i) {
    const std::uint64_t issued_ns = peer.take_issue_time_ns();
    if (measuring_) {
      figures_.latency_ns.record(now - issued_ns);
    }
  }
  if (measuring_) {
    figures_.requests += requests;
  }
  completed_ += requests;
  outstanding_ -= requests;
  if (issuing_) {
    peer.issue(requests, now);
    outstanding_ += requests;
  }
}

void load::send(connection& peer) {
  try {
    peer.send(scratch_);
  } catch (const connection_failure& failure) {
    drop(peer, failure);
    return;
  }
  if (peer.wants_to_send() != peer.polled_for_output) {
    peer.polled_for_output = peer.wants_to_send();
    const std::uint32_t events = peer.polled_for_output ? EPOLLIN | EPOLLOUT : EPOLLIN;
    epoll_.modify(peer.descriptor(), events, peer.index());
  }
}

void load::drop(connection& peer, const connection_failure& failure) {
  figures_.failures.add(failure);
  outstanding_ -= peer.outstanding();
  peer.close();
}

void load::drop_unanswered() {
  for (connection& peer : connections_) {
    if (peer.open() && peer.outstanding() > 0) {
      drop(peer, {failure_kind::unanswered, "connection " + std::to_string(peer.index()) + ": " +
                                                std::to_string(peer.outstanding()) +
                                                " requests were not answered in time"});
    }
  }
}

void load::show_progress(std::uint64_t now) {
  if (!options_.quiet) {
    const double seconds =
        static_cast<double>(now - last_progress_ns_) / static_cast<double>(second_ns);
    const double rate = static_cast<double>(completed_ - completed_at_progress_) / seconds;
    std::fprintf(stderr, "  %3.0f s  %9.0f requests/s%s\n",
                 static_cast<double>(now - loop_start_ns_) / static_cast<double>(second_ns), rate,
                 measuring_ ? ""
                 : issuing_ ? "  (warm-up)"
                            : "  (waiting for the last answers)");
  }
  completed_at_progress_ = completed_;
  last_progress_ns_ = now;
}

}  // namespace net_load
