// The load itself: opens the connections and keeps them busy, on one thread with one epoll.
//
//   1. connect   all connections (connect.hpp)
//   2. greet     one round trip on each: the kernel connects what the server has yet to accept, and one that
//                accepts in between its work would have the last of them wait for seconds
//   3. warm up   the loop runs, nothing is counted
//   4. window    the same loop, counted; the server's CPU clock is read at both ends
//   5. drain     nothing new is issued; every answer still due must come within the timeout
//
// Mode hold has one round trip on each connection as its window, and closes nothing before the last
// has come back and the server's memory has been looked at. A connection that fails is counted and
// dropped; the others go on. Every phase is bounded in time.
//
// In the closed loop the answer to a request issues the next one on its connection, so a server that is
// slow is asked less. In the open loop (--rate) the times at which requests are due are drawn in
// advance, and whatever is due goes out on a connection drawn from those that wait for no answer;
// where all do, it waits here. Its latency counts from when it was due in any case (else a
// server that stands still would be asked nothing meanwhile and look fast: coordinated omission), and what
// was due in the window counts although it is answered after it. Not one after the other on a busy
// connection: an echo must answer in order, so that would measure the connection. The draw leaves out a
// slow server thread's connections while it owes answers; with many more connections than
// requests in flight that is next to nothing.
//
// Stalls (--stalls) come at times drawn in advance too. Closed loop: each connection has its own times,
// and marks its next request for each that has passed, so what is offered does not depend on how
// the server does. Open loop: each request is drawn with the probability that makes the rate.
#pragma once

#include "connection.hpp"
#include "epoll_set.hpp"
#include "failure.hpp"
#include "histogram.hpp"
#include "options.hpp"
#include "poisson.hpp"
#include "process_cpu.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <span>
#include <vector>

namespace net_load {

struct figures {
  unsigned connections_opened = 0;
  unsigned connections_left = 0;  // still open when the last answer had come
  double connect_seconds = 0;
  double window_seconds = 0;
  std::uint64_t requests = 0;  // completed inside the window
  std::uint64_t stalls = 0;    // of those, the marked ones
  histogram latency_ns;        // of `requests`; open loop: of what was due inside the window
  histogram unmarked_ns;       // the same, without the marked ones
  histogram lateness_ns;       // open loop: between due and issued
  std::optional<double> server_cpu_seconds;
  std::optional<double> server_bytes_per_connection;  // mode hold: by how much its resident set has grown
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
  void greet();
  void loop();
  void hold();

  void draw_from(std::uint64_t start_ns);
  void open_window(double seconds);
  void close_window();
  void issue_everywhere(unsigned requests_each);
  /// Serves until the deadline, or until nothing is left to do.
  void exchange(std::uint64_t deadline_ns);
  [[nodiscard]] bool is_busy() const noexcept;
  [[nodiscard]] std::span<const epoll_event> wait(std::uint64_t now_ns, std::uint64_t until_ns);
  void serve(connection& peer, std::uint32_t events);
  /// Throws: connection_failure if a stall was not served.
  void complete(connection& peer, unsigned requests);
  void count(const request& done, std::uint64_t latency_ns) noexcept;
  void issue(connection& peer, request next);
  void issue_next(connection& peer, std::uint64_t now_ns);
  /// Open loop: what is due by then goes out, or into the backlog.
  void issue_due(std::uint64_t until_ns);
  [[nodiscard]] connection* draw_idle();
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
  unsigned open_ = 0;               // connections

  std::optional<poisson> arrivals_;  // open loop
  std::mt19937_64 random_;
  std::deque<request> backlog_;      // due, and no connection was idle
  std::vector<unsigned> idle_;       // connections that wait for no answer, and some that have been dropped
  std::vector<poisson> stalls_due_;  // closed loop, one for each connection

  std::uint64_t window_start_ns_ = 0;
  std::uint64_t window_end_ns_ = UINT64_MAX;  // open loop: what is due from then on is not counted
  std::uint64_t window_start_cpu_ns_ = 0;
  std::uint64_t completed_ = 0;  // ever, for the progress line
  std::uint64_t completed_at_progress_ = 0;
  std::uint64_t last_progress_ns_ = 0;
  std::uint64_t loop_start_ns_ = 0;
  bool issuing_ = false;    // the loop goes on; else only what is due or outstanding is finished
  bool measuring_ = false;  // inside the window
};

}  // namespace net_load
