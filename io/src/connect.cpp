// connect to one of several addresses: Happy Eyeballs, RFC 8305, out of public parts.
//
//   1. Each attempt is a fiber of one group, which calls `connect` for its endpoint, keeps what came of it in a place of
//      its own, and then sends its number. There is room for all numbers, so nobody waits to send.
//   2. The caller starts the first, and waits for a number, until `attempt_delay` is over. Then, or as soon as the attempt that
//      was started last has failed, it starts the next one.
//   3. The first number whose attempt has connected wins: the group is cancelled and joined. An attempt that has connected
//      meanwhile is closed with the place that it is in.
//   4. If the caller is cancelled, so is the group, and joined. A connection that has come by then is returned: the wait
//      has its result (DESIGN §2, law 2), and the cancellation is seen at the next.
//
// Rejected: wait_any over the attempts' handles, which says nothing of those that failed while the delay ran; connect(2) on
// non-blocking sockets and one poll for all, which saves the fibers but would be a second way to connect.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/channel.hpp>
#include <aramid/detail/runtime_ref.hpp>
#include <aramid/fiber.hpp>
#include <aramid/io/resolve.hpp>
#include <aramid/io/tcp.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "calls.hpp"
#include "quoted.hpp"

namespace aramid::inline v0::io {
namespace {

using detail::coded;
using detail::runtime_ref;

struct attempt {
  explicit attempt(const endpoint& to) : peer(to) {}

  endpoint peer;
  tcp_stream stream;
  std::error_code error;
};

using attempts = std::vector<attempt>;

void begin() {
  enter_wait();
  if (const runtime_ref home = runtime_ref::current(); !home) {
    home.call("connect", [] {});  // which says so
  }
}

attempts attempts_at(std::span<const endpoint> peers) {
  if (peers.empty()) {
    throw std::invalid_argument("connect: there is no endpoint to connect to");
  }
  return attempts(peers.begin(), peers.end());
}

attempts::iterator connected(attempts& all) {
  return std::find_if(all.begin(), all.end(), [](const attempt& each) { return each.stream.is_open(); });
}

/// Steps 1 to 3. Returns: the winner, or the end.
attempts::iterator start_and_await(attempts& all, clock::duration delay, channel<std::size_t>& ended, task_group& group) {
  std::size_t begun = 0;
  bool begin_next = true;
  time_point patience = time_point::max();
  for (std::size_t failed = 0; failed < all.size();) {
    if (begin_next && begun < all.size()) {
      group.spawn(fiber_options{.name = "connect"}, [&all, &ended, mine = begun] {
        all[mine].stream = connect(all[mine].peer, all[mine].error);
        (void)ended.try_send(mine);
      });
      ++begun;
      begin_next = false;
      patience = begun < all.size() ? detail::deadline_after(delay) : time_point::max();
    }
    const received<std::size_t> number = ended.receive_until(patience);
    if (!number) {
      begin_next = true;
      continue;
    }
    if (all[*number].stream.is_open()) {
      group.cancel();
      return all.begin() + static_cast<std::ptrdiff_t>(*number);
    }
    ++failed;
    begin_next = *number + 1 == begun;
  }
  return all.end();
}

attempts::iterator race(attempts& all, clock::duration delay) {
  channel<std::size_t> ended(all.size());
  try {
    return with_task_group([&](task_group& group) { return start_and_await(all, delay, ended, group); });
  } catch (const cancelled&) {
    const auto winner = connected(all);
    if (winner == all.end()) {
      throw;
    }
    return winner;
  }
}

/// Whether the error came from this machine, which has no way to the peer.
bool is_local(const std::error_code& error) {
  return error == std::errc::network_unreachable || error == std::errc::host_unreachable ||
         error == std::errc::network_down || error == std::errc::address_family_not_supported ||
         error == std::errc::address_not_available;
}

std::error_code most_telling(const attempts& all) {
  const auto telling = std::find_if(all.rbegin(), all.rend(), [](const attempt& each) { return !is_local(each.error); });
  return telling != all.rend() ? telling->error : all.back().error;
}

tcp_stream connect_to_first(attempts& all, const connect_options& options, std::error_code& ec) {
  if (all.size() == 1) {
    return connect(all.front().peer, ec);
  }
  const auto winner = race(all, detail::clamped(options.attempt_delay));
  if (winner == all.end()) {
    ec = most_telling(all);
    return {};
  }
  return std::move(winner->stream);
}

std::string text_of(const attempts& all) {
  if (all.size() == 1) {
    return all.front().peer.to_string();
  }
  std::string text;
  for (const attempt& each : all) {
    text += (text.empty() ? "" : "; ") + each.peer.to_string() + ": " + each.error.message();
  }
  return text;
}

/// The families take turns (RFC 8305, 4), beginning with the first address's; each keeps its order.
attempts taking_turns(std::span<const endpoint> peers) {
  attempts first;
  attempts second;
  for (const endpoint& each : peers) {
    (each.family() == peers.front().family() ? first : second).emplace_back(each);
  }
  attempts mixed;
  for (std::size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
    for (attempts* const family : {&first, &second}) {
      if (i < family->size()) {
        mixed.push_back(std::move((*family)[i]));
      }
    }
  }
  return mixed;
}

}  // namespace

tcp_stream connect(std::span<const endpoint> peers, const connect_options& options) {
  begin();
  attempts all = attempts_at(peers);
  std::error_code ec;
  tcp_stream stream = connect_to_first(all, options, ec);
  if (ec) {
    throw std::system_error(ec, "connect " + text_of(all));
  }
  return stream;
}

tcp_stream connect(std::span<const endpoint> peers, const connect_options& options, std::error_code& ec) {
  return coded(ec, [&] {
    begin();
    attempts all = attempts_at(peers);
    return connect_to_first(all, options, ec);
  });
}

tcp_stream connect(std::string_view host, std::uint16_t port, const connect_options& options) {
  begin();
  attempts all = taking_turns(resolve(host, port, options.names));
  std::error_code ec;
  tcp_stream stream = connect_to_first(all, options, ec);
  if (ec) {
    throw std::system_error(ec, "connect " + detail::quoted(host) + " (" + text_of(all) + ")");
  }
  return stream;
}

tcp_stream connect(std::string_view host, std::uint16_t port, const connect_options& options, std::error_code& ec) {
  return coded(ec, [&] {
    begin();
    const std::vector<endpoint> peers = resolve(host, port, options.names, ec);
    if (ec) {
      return tcp_stream();
    }
    attempts all = taking_turns(peers);
    return connect_to_first(all, options, ec);
  });
}

}  // namespace aramid::inline v0::io
