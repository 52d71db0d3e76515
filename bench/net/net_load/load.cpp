#include "load.hpp"

#include "clock.hpp"
#include "../stall.h"
#include "connect.hpp"
#include "process_memory.hpp"

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

namespace net_load {

namespace {

constexpr std::size_t scratch_bytes = std::size_t{64} * 1024;

}  // namespace

load::load(const options& settings)
    : options_(settings),
      server_(resolve(settings)),
      scratch_(scratch_bytes),
      random_(settings.seed) {
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
  if (options_.mode == load_mode::hold) {
    hold();
  } else {
    connect();
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
  figures_.connections_opened = open_ = options_.connections;
  figures_.connect_seconds =
      static_cast<double>(now_ns() - start_ns) / static_cast<double>(second_ns);
  loop_start_ns_ = last_progress_ns_ = now_ns();
}

void load::greet() {
  for (connection& peer : connections_) {
    issue(peer, {now_ns(), false});
    send(peer);
  }
  exchange(now_ns() + to_ns(options_.timeout_seconds));
  drop_unanswered();
  loop_start_ns_ = last_progress_ns_ = now_ns();
}

void load::loop() {
  greet();
  issuing_ = true;
  draw_from(loop_start_ns_);
  if (!arrivals_) {
    issue_everywhere(options_.depth);
  }
  exchange(loop_start_ns_ + to_ns(options_.warmup_seconds));
  open_window(options_.seconds);
  exchange(window_start_ns_ + to_ns(options_.seconds));
  close_window();
  if (arrivals_) {
    issue_due(window_end_ns_);  // what was due while this thread itself was kept waiting
  }
  issuing_ = false;
  if (is_busy()) {
    exchange(now_ns() + to_ns(options_.timeout_seconds));
  }
}

void load::draw_from(std::uint64_t start_ns) {
  if (options_.has_rate()) {
    arrivals_.emplace(options_.rate_per_second, random_(), start_ns);
    for (const connection& peer : connections_) {
      idle_.push_back(peer.index());
    }
  } else if (options_.has_stalls()) {
    const double each = options_.stalls_per_second / options_.connections;
    for (unsigned i = 0; i < options_.connections; ++i) {
      stalls_due_.emplace_back(each, random_(), start_ns);
    }
  }
}

void load::hold() {
  const std::uint64_t bytes_before = options_.server_pid ? resident_bytes_of(*options_.server_pid) : 0;
  connect();
  open_window(options_.timeout_seconds);
  issue_everywhere(1);
  exchange(window_start_ns_ + to_ns(options_.timeout_seconds));
  close_window();
  // All are answered: one more look, so that a connection the server closed meanwhile does not pass
  // as held.
  exchange(now_ns());
  if (options_.server_pid) {
    const auto grown = static_cast<double>(resident_bytes_of(*options_.server_pid)) - static_cast<double>(bytes_before);
    figures_.server_bytes_per_connection = grown / options_.connections;
  }
}

void load::open_window(double seconds) {
  measuring_ = true;
  window_start_ns_ = now_ns();
  window_end_ns_ = window_start_ns_ + to_ns(seconds);
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
    if (!peer.open()) {
      continue;  // it has not outlived its greeting
    }
    for (unsigned i = 0; i < requests_each; ++i) {
      issue_next(peer, now_ns());
    }
    send(peer);
  }
}

void load::exchange(std::uint64_t deadline_ns) {
  std::uint64_t now = now_ns();
  do {
    const std::uint64_t progress_ns = last_progress_ns_ + second_ns;
    if (arrivals_ && issuing_) {
      issue_due(std::min(now, deadline_ns));
    }
    for (const epoll_event& event : wait(now, std::min(deadline_ns, std::max(now, progress_ns)))) {
      serve(connections_[event.data.u32], event.events);
    }
    now = now_ns();
    if (now >= progress_ns) {
      show_progress(now);
    }
  } while (now < deadline_ns && is_busy());
}

bool load::is_busy() const noexcept {
  return outstanding_ > 0 || (arrivals_ && open_ > 0 && (issuing_ || !backlog_.empty()));
}

std::span<const epoll_event> load::wait(std::uint64_t now, std::uint64_t until) {
  if (!arrivals_ || !issuing_) {
    return epoll_.wait(milliseconds_until(now, until));
  }
  until = std::min(until, arrivals_->next_ns());
  return epoll_.wait_ns(until <= now ? 0 : until - now);
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
  completed_ += requests;
  outstanding_ -= requests;
  for (unsigned i = 0; i < requests; ++i) {
    const request done = peer.take_completed();
    const std::uint64_t latency_ns = now - done.due_ns;
    if (done.marked && latency_ns < stall_ns) {
      throw connection_failure(failure_kind::not_stalled,
                               "connection " + std::to_string(peer.index()) +
                                   ": a request that asked for 1 ms of CPU was answered after " +
                                   std::to_string(latency_ns / 1000) +
                                   " us; is the server's --stall the --size of here?");
    }
    count(done, latency_ns);
  }
  if (arrivals_) {
    if (backlog_.empty()) {
      idle_.push_back(peer.index());
    } else {
      issue(peer, backlog_.front());
      backlog_.pop_front();
    }
  } else if (issuing_) {
    for (unsigned i = 0; i < requests; ++i) {
      issue_next(peer, now);
    }
  }
}

void load::count(const request& done, std::uint64_t latency_ns) noexcept {
  if (measuring_) {
    ++figures_.requests;
    figures_.stalls += done.marked ? 1 : 0;
  }
  const bool was_due_inside = done.due_ns >= window_start_ns_ && done.due_ns < window_end_ns_;
  if (arrivals_ ? window_start_ns_ != 0 && was_due_inside : measuring_) {
    figures_.latency_ns.record(latency_ns);
    if (!done.marked) {
      figures_.unmarked_ns.record(latency_ns);
    }
  }
}

void load::issue(connection& peer, request next) {
  if (arrivals_ && measuring_ && next.due_ns >= window_start_ns_) {
    const std::uint64_t now = now_ns();
    figures_.lateness_ns.record(now > next.due_ns ? now - next.due_ns : 0);
  }
  peer.issue(next);
  ++outstanding_;
}

void load::issue_next(connection& peer, std::uint64_t now) {
  bool marked = false;
  if (!stalls_due_.empty() && stalls_due_[peer.index()].next_ns() <= now) {
    stalls_due_[peer.index()].advance();
    marked = true;
  }
  issue(peer, {now, marked});
}

void load::issue_due(std::uint64_t until) {
  std::bernoulli_distribution asks_for_stall(options_.stalls_per_second / options_.rate_per_second);
  while (arrivals_->next_ns() < until) {
    const request next{arrivals_->next_ns(), asks_for_stall(random_)};
    arrivals_->advance();
    if (connection* const peer = draw_idle()) {
      issue(*peer, next);
      send(*peer);
    } else {
      backlog_.push_back(next);
    }
  }
}

connection* load::draw_idle() {
  while (!idle_.empty()) {
    std::swap(idle_[random_() % idle_.size()], idle_.back());
    connection& drawn = connections_[idle_.back()];
    idle_.pop_back();
    if (drawn.open()) {
      return &drawn;
    }
  }
  return nullptr;
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
  --open_;
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
