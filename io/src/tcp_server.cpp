// A server is a loop that accepts, a group that the handlers are in, and a few words under a lock that say how far it has come.
//
// Serve: 1. Under the lock: refuse a second; say that somebody serves and by which scope `stop` can end that; if it has been stopped,
//           cancel the scope at once. `quiet` is cleared.
//        2. Again and again: a place, a connection, a fiber for it. The first two waits either end with what they wait for or have not taken
//           it (law 2), so the scope never costs a connection. The third is there only while there is no memory for a fiber: who is
//           cancelled in it leaves the connection in `unstarted`, under the lock, and the next `serve` begins with that.
//        3. Under the lock: the scope is gone. If the server has been stopped, close what is unstarted and the listener (not under the lock).
//           Nobody waits in it any more: so that is a close(2) and no shutdown(2), which would end the socket for those who share it, too.
//        4. Under the lock: nobody serves, and `quiet` is set. The unlock is the last touch: whoever waited for `quiet` takes the lock before it
//           destroys anything.
// Stop:  under the lock, say so, and cancel the scope if there is one. Its last touch is the unlock, so a server may be destroyed by
//        whom its `serve` has returned to. That is why it leaves the listener to step 3, to `drain` or to the destructor.
// Drain: 1. Stop; wait for `quiet`, after which no handler comes any more, not even of a `serve` that comes yet; close what is unstarted.
//        2. Wait for `idle`, which is set under the lock while there is no connection; at the deadline cancel the group, and wait again. Not
//           by a scope with a deadline: that does not end a wait of a fiber that is unwinding.
//        3. Join the group: hooks may still be running.
//
// The group is made by `serve`, not by the constructor: it belongs to a runtime, and a server may be made before there is one. A later `serve` (after one
// that was cancelled) takes the same, unless it is empty and may be of a runtime that is gone.
//
// Rejected: several fibers that accept. A listener's queue has one lock in the kernel, and what one fiber starts the other workers steal
// (figures in io/README.md).
#include <aramid/io/tcp_server.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <utility>

#include <aramid/cancel.hpp>
#include <aramid/detail/runtime_ref.hpp>
#include <aramid/detail/spin_lock.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/fiber_local.hpp>
#include <aramid/mutex.hpp>
#include <aramid/semaphore.hpp>
#include <aramid/task_group.hpp>

#include "calls.hpp"

namespace aramid::inline v0::io {

using namespace std::chrono_literals;

namespace {

std::ptrdiff_t places_for(const server_options& options) {
  if (options.max_connections == 0) {
    throw std::invalid_argument("tcp_server: max_connections is 0");
  }
  constexpr auto most = counting_semaphore<>::max();
  return static_cast<std::ptrdiff_t>(std::min(options.max_connections, static_cast<std::size_t>(most)));
}

}  // namespace

/// A place, the connection that comes to have it, and what becomes of that. The callable of the handler's fiber, so it ends when the handler has
/// ended and nothing of the connection is left, or when it never began.
class tcp_server::connection {
public:
  /// Takes over a place.
  explicit connection(state& of) noexcept : server_(&of) {}

  connection(connection&& other) noexcept
      : server_(std::exchange(other.server_, nullptr)), stream_(std::move(other.stream_)), end_(other.end_) {}
  connection& operator=(connection&&) = delete;

  ~connection();

  /// Suspends, Cancels: as tcp_listener::accept_with_backoff.
  void accept();

  void operator()();

private:
  enum class ending : std::uint8_t { none_came, not_begun, cut_short, failed, finished };

  /// Under the lock.
  std::uint64_t& counter() const noexcept;

  state* server_;
  tcp_stream stream_;
  ending end_ = ending::none_came;
};

struct tcp_server::state {
  state(tcp_listener socket, handler what, server_options with)
      : listener(std::move(socket)), handle(std::move(what)), options(std::move(with)), places(places_for(options)) {
    if (!handle) {
      throw std::invalid_argument("tcp_server: handle is empty");
    }
    quiet.set();
    idle.set();
  }

  [[nodiscard]] std::shared_ptr<task_group> current_group() {
    const std::lock_guard guard(lock);
    return handlers;
  }

  void cancel(task_group& group) {
    {
      const std::lock_guard guard(lock);
      is_cancelling = true;
    }
    group.cancel();
  }

  /// For the next `serve`. There is none yet: who serves has taken it.
  void keep(connection&& next) {
    const std::lock_guard guard(lock);
    unstarted.emplace(std::move(next));
  }

  [[nodiscard]] std::optional<connection> take_unstarted() {
    const std::lock_guard guard(lock);
    std::optional<connection> taken;
    if (unstarted) {
      taken.emplace(std::move(*unstarted));
      unstarted.reset();  // nothing is left in it that would end
    }
    return taken;
  }

  [[nodiscard]] server_statistics current_counts() {
    const std::lock_guard guard(lock);
    return counts;
  }

  tcp_listener listener;
  const handler handle;
  const server_options options;
  counting_semaphore<> places;
  event quiet;                  // nobody is in `serve`; changed under the lock, as is the next
  event idle;                   // there is no connection
  mutex joining;                // a group is joined by one at a time
  fiber_local<bool> is_handler;  // whose value is there

  detail::spin_lock lock;
  // Under the lock:
  cancel_scope* accepting = nullptr;  // what `stop` cancels: in the frame of who serves
  bool is_served = false;
  bool is_stopped = false;
  bool is_over = false;        // it has been stopped and served to its end
  bool is_cancelling = false;  // the handlers have been cancelled
  server_statistics counts;
  // The last members, as their destructors use the others, and the group's joins its fibers.
  std::shared_ptr<task_group> handlers;
  std::optional<connection> unstarted;
};

tcp_server::connection::~connection() {
  if (server_ == nullptr) {
    return;
  }
  stream_.close();  // before another one may come in its place
  {
    const std::lock_guard guard(server_->lock);
    if (end_ != ending::none_came) {
      ++counter();
      if (--server_->counts.active == 0) {
        server_->idle.set();
      }
    }
  }
  server_->places.release();
}

void tcp_server::connection::accept() {
  std::error_code ec;
  stream_ = server_->listener.accept_with_backoff(ec);
  if (ec) {
    throw std::system_error(ec, "tcp_server::serve");
  }
  end_ = ending::not_begun;
  const std::lock_guard guard(server_->lock);
  ++server_->counts.accepted;
  if (server_->counts.active++ == 0) {
    server_->idle.clear();
  }
}

void tcp_server::connection::operator()() {
  end_ = ending::cut_short;
  try {
    *server_->is_handler = true;
    server_->handle(std::move(stream_));
  } catch (const cancelled&) {
    throw;
  } catch (...) {
    end_ = ending::failed;
    throw;
  }
  end_ = ending::finished;
}

std::uint64_t& tcp_server::connection::counter() const noexcept {
  server_statistics& counts = server_->counts;
  switch (end_) {
    case ending::finished:
      return counts.finished;
    case ending::failed:
      return counts.failed;
    case ending::not_begun:
      // Cancelled before it could begin, or there was no memory for its stack, or for its fiber until the server was stopped.
      return server_->is_cancelling ? counts.cancelled : counts.failed;
    case ending::none_came:
    case ending::cut_short:
      break;
  }
  return counts.cancelled;
}

/// Steps 1, 3 and 4 of `serve`, in its frame.
class tcp_server::serving {
public:
  explicit serving(state& of) : server_(of) {
    auto fresh = std::make_shared<task_group>(on_error::isolate, of.options.on_error);
    std::shared_ptr<task_group> former;  // ends outside of the lock
    const std::lock_guard guard(of.lock);
    if (of.is_served) {
      throw std::logic_error("tcp_server::serve: somebody serves already");
    }
    if (of.is_over) {
      throw std::logic_error("tcp_server::serve: it has been stopped, and has served to its end");
    }
    of.is_served = true;
    of.quiet.clear();
    of.accepting = &scope_;
    if (of.is_stopped) {
      scope_.cancel();
    }
    if (of.handlers == nullptr || of.handlers->size() == 0) {
      former = std::exchange(of.handlers, std::move(fresh));
    }
    group_ = of.handlers.get();
  }

  serving(const serving&) = delete;
  serving& operator=(const serving&) = delete;

  ~serving() {
    for (bool closed = false;; closed = true) {
      {
        const std::lock_guard guard(server_.lock);
        server_.accepting = nullptr;
        if (!server_.is_stopped || closed) {
          server_.is_over = server_.is_stopped;
          server_.is_served = false;
          server_.quiet.set();
          return;
        }
      }
      (void)server_.take_unstarted();
      server_.listener.close();
    }
  }

  /// Step 2, until the scope is cancelled.
  void accept_all() {
    scope_.run([this] {
      this_fiber::checkpoint();
      if (std::optional<connection> left = server_.take_unstarted()) {
        start(*left);
      }
      for (;;) {
        server_.places.acquire();
        connection next(server_);
        next.accept();
        start(next);
      }
    });
  }

private:
  /// Nothing is lost where there is no memory for a fiber: the connection waits here, as it would in the backlog.
  void start(connection& next) {
    const fiber_options options{.name = server_.options.name};
    for (clock::duration backoff = 5ms;; backoff = std::min<clock::duration>(2 * backoff, 1s)) {
      try {
        group_->spawn(options, std::move(next));  // takes it only when nothing can fail any more
        return;
      } catch (const std::bad_alloc&) {
      }
      try {
        this_fiber::sleep_for(backoff);
      } catch (...) {
        server_.keep(std::move(next));
        throw;
      }
    }
  }

  state& server_;
  task_group* group_ = nullptr;
  cancel_scope scope_;
};

tcp_server::tcp_server(const endpoint& where, handler handle, server_options options)
    : tcp_server(tcp_listener(where), std::move(handle), std::move(options)) {}

tcp_server::tcp_server(tcp_listener listener, handler handle, server_options options)
    : state_(std::make_unique<state>(std::move(listener), std::move(handle), std::move(options))) {}

tcp_server::~tcp_server() {
  const shield from_cancellation;
  stop();
  state_->quiet.wait();
  const std::lock_guard guard(state_->lock);
  state_->is_cancelling = true;
}  // ~state begins with what is unstarted, and then the group

void tcp_server::serve() {
  if (!detail::runtime_ref::current()) {
    throw std::logic_error("tcp_server::serve: the caller belongs to no runtime");
  }
  enter_wait();
  serving(*state_).accept_all();
}

void tcp_server::stop() noexcept {
  const std::lock_guard guard(state_->lock);
  state_->is_stopped = true;
  if (state_->accepting != nullptr) {
    state_->accepting->cancel();
  }
}

std::size_t tcp_server::drain_until(time_point deadline) {
  state& server = *state_;
  if (server.is_handler.find() != nullptr) {
    throw std::logic_error("tcp_server::drain: called by a handler, which would wait for itself");
  }
  enter_wait();
  const std::uint64_t before = server.current_counts().cancelled;
  stop();
  server.quiet.wait();
  (void)server.take_unstarted();
  const std::shared_ptr<task_group> group = server.current_group();
  server.listener.close();
  if (group == nullptr) {
    return 0;
  }
  if (!server.idle.wait_until(deadline)) {
    server.cancel(*group);
    server.idle.wait();
  }
  const std::lock_guard one_at_a_time(server.joining);
  group->join();
  return server.current_counts().cancelled - before;
}

endpoint tcp_server::local_endpoint() const {
  return detail::throwing("tcp_server::local_endpoint", [&](std::error_code& ec) { return local_endpoint(ec); });
}

endpoint tcp_server::local_endpoint(std::error_code& ec) const { return state_->listener.local_endpoint(ec); }

server_statistics tcp_server::stats() const noexcept { return state_->current_counts(); }

}  // namespace aramid::inline v0::io
