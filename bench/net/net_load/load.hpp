// The load itself: opens the connections and keeps them busy, on one thread with one epoll.
//
//   1. connect   all connections (connect.hpp)
//   2. warm up   the closed loop runs, nothing is counted
//   3. window    the same loop, counted; the server's CPU clock is read at both ends
//   4. drain     nothing new is issued; every answer still due must come within the timeout
//
// Mode hold has one round trip on each connection as its window, and closes nothing before the last
// has come back. A connection that fails is counted and dropped; the others go on. Every phase is
// bounded in time.
#pragma once

#include "connection.hpp"
#include "epoll_set.hpp"
#include "failure.hpp"
#include "histogram.hpp"
#include "options.hpp"
#include "process_cpu.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace net_load {

struct figures {
  unsigned connections_opened = 0;
  unsigned connections_left = 0;  // still open when the last answer had come
  double connect_seconds = 0;
  double window_seconds = 0;
  std::uint64_t requests = 0;  // completed inside the window
  histogram latency_ns;
  std::optional<double> server_cpu_seconds;
  failure_tally failures;
};

class load {
public:
  /// Throws: bad_usage.
  explicit load(const options& settings);

  /// Runs all phases; to be called once.
  /// Throws: bad_usage, server_unreachable.
  const figures& run();

private:
  void connect();
  void loop();
  void hold();

  void open_window();
  void close_window();
  void issue_everywhere(unsigned requests_each);
  /// Serves until the deadline, or until nothing is outstanding (while issuing: none is left).
  void exchange(std::uint64_t deadline_ns);
  void serve(connection& peer, std::uint32_t events);
  void complete(connection& peer, unsigned requests);
  void send(connection& peer);
  void drop(connection& peer, const connection_failure& failure);
  void drop_unanswered();
  void show_progress(std::uint64_t now_ns);

  const options& options_;
  server_address server_;
  std::optional<process_cpu> server_cpu_;
  std::vector<connection> connections_;
  std::vector<std::byte> scratch_;  // what is about to be sent, or has just been received
  epoll_set epoll_;
  figures figures_;
  std::uint64_t outstanding_ = 0;  // issued on open connections and not yet back
  std::uint64_t window_start_ns_ = 0;
  std::uint64_t window_start_cpu_ns_ = 0;
  std::uint64_t completed_ = 0;  // ever, for the progress line
  std::uint64_t completed_at_progress_ = 0;
  std::uint64_t last_progress_ns_ = 0;
  std::uint64_t loop_start_ns_ = 0;
  bool issuing_ = false;    // a completed request is followed by the next
  bool measuring_ = false;  // inside the window
};

}  // namespace net_load
