#include "name_lookup.hpp"

#include <ares.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "calls.hpp"
#include "descriptor.hpp"
#include "operation.hpp"

namespace aramid::inline v0::detail {
namespace {

using namespace std::chrono_literals;

struct free_answer {
  void operator()(ares_addrinfo* gone) const noexcept { ares_freeaddrinfo(gone); }
};

class lookup {
public:
  /// Owns: `epoll`.
  lookup(int epoll, runtime_ref home) noexcept
      : epoll_(epoll), ready_(epoll, descriptor::kind::event, std::move(home)) {}

  /// Step 4. c-ares calls back for what is not answered, and closes its sockets: `this` must be whole.
  ~lookup() { ares_destroy(channel_); }

  lookup(const lookup&) = delete;
  lookup& operator=(const lookup&) = delete;

  /// Step 1. Returns: a status of c-ares.
  int open(const io::resolve_options& options);

  /// Step 2.
  void ask(const std::string& name, int family);

  /// Step 3.
  void wait_for_answer(std::error_code& ec);

  [[nodiscard]] std::vector<io::endpoint> answer(std::error_code& ec) const;

private:
  std::optional<time_point> next_repetition() const;
  void tell_what_is_ready();
  void watch(int fd, bool readable, bool writable) noexcept;
  int open_socket(int family, int type, int protocol) noexcept;

  static const ares_socket_functions calls;

  const int epoll_;
  descriptor ready_;  // the epoll descriptor; outlives the channel
  ares_channel channel_ = nullptr;

  // Written when c-ares calls back.
  bool answered_ = false;
  int status_ = ARES_SUCCESS;
  std::unique_ptr<ares_addrinfo, free_answer> addresses_;
  int shortage_ = 0;      // an errno that c-ares takes for a fault of the name server
  bool is_blind_ = false;  // a socket could not be entered into the epoll descriptor
};

// The sockets are made by us, because c-ares sets FD_CLOEXEC a moment after socket(2), too late for a process
// that is started in between, and because a write to a connection that is gone must not raise SIGPIPE.
// They are non-blocking: c-ares tries before it waits.
const ares_socket_functions lookup::calls = {
    .asocket = [](int family, int type, int protocol, void* self) noexcept {
      return static_cast<lookup*>(self)->open_socket(family, type, protocol);
    },
    .aclose = [](int fd, void*) noexcept { return ::close(fd); },
    .aconnect = [](int fd, const sockaddr* peer, ares_socklen_t size, void*) noexcept {
      return ::connect(fd, peer, size);
    },
    .arecvfrom = [](int fd, void* data, std::size_t size, int flags, sockaddr* peer, ares_socklen_t* peer_size,
                    void*) noexcept { return static_cast<ares_ssize_t>(::recvfrom(fd, data, size, flags, peer, peer_size)); },
    .asendv = [](int fd, const iovec* parts, int count, void*) noexcept {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(parts);
      message.msg_iovlen = static_cast<std::size_t>(count);
      ssize_t sent = ::sendmsg(fd, &message, MSG_NOSIGNAL);
      if (sent < 0 && errno == ECONNREFUSED) {
        // What is refused is the datagram before, and with this error its query would be left to wait. Sent once more, this
        // one is refused too; that comes as a read, for which c-ares moves every query of the server on.
        sent = ::sendmsg(fd, &message, MSG_NOSIGNAL);
      }
      return static_cast<ares_ssize_t>(sent);
    },
};

int lookup::open_socket(int family, int type, int protocol) noexcept {
  const int fd = ::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
  if (fd < 0) {
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      shortage_ = errno;
    }
  } else if (type == SOCK_STREAM) {
    const int on = 1;  // only a matter of speed
    (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  return fd;
}

void lookup::watch(int fd, bool readable, bool writable) noexcept {
  epoll_event wanted{};
  wanted.events = (readable ? std::uint32_t{EPOLLIN} : 0) | (writable ? std::uint32_t{EPOLLOUT} : 0);
  wanted.data.fd = fd;
  if (wanted.events == 0) {
    // Not left to the close: a forked child may have the socket too, and it would stay.
    (void)::epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
  } else if (::epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &wanted) != 0 && ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &wanted) != 0) {
    shortage_ = errno;
    is_blind_ = true;
  }
}

int lookup::open(const io::resolve_options& options) {
  // Nearly nothing on Linux, and not safe among threads (man ares_library_init). Never undone: others may use c-ares too.
  static const int initialised = ares_library_init(ARES_LIB_INIT_ALL);
  if (initialised != ARES_SUCCESS) {
    return initialised;
  }
  ares_options how{};
  how.timeout = static_cast<int>(std::clamp<std::int64_t>(
      std::chrono::ceil<std::chrono::milliseconds>(options.timeout).count(), 1, INT_MAX));
  how.tries = std::min(options.tries, 1000);  // it multiplies them with the servers
  how.sock_state_cb_data = this;
  how.sock_state_cb = [](void* self, int fd, int readable, int writable) noexcept {
    static_cast<lookup*>(self)->watch(fd, readable != 0, writable != 0);
  };
  int status = ares_init_options(&channel_, &how, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
  if (status != ARES_SUCCESS) {
    channel_ = nullptr;
    return status;
  }
  ares_set_socket_functions(channel_, &calls, this);
  if (!options.nameservers.empty()) {
    std::string list;
    for (const io::endpoint& each : options.nameservers) {
      list += each.to_string() + ',';
    }
    list.pop_back();
    status = ares_set_servers_ports_csv(channel_, list.c_str());
    if (status == ARES_EBADSTR) {
      throw std::invalid_argument("resolve: a name server of " + list + " cannot be used");
    }
  }
  return status;
}

void lookup::ask(const std::string& name, int family) {
  ares_addrinfo_hints hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;  // or there would be each address for each type
  ares_getaddrinfo(
      channel_, name.c_str(), nullptr, &hints,
      [](void* self, int status, int, ares_addrinfo* addresses) noexcept {
        auto& me = *static_cast<lookup*>(self);
        me.answered_ = true;
        me.status_ = status;
        me.addresses_.reset(addresses);
      },
      this);
}

/// Returns: nothing if c-ares waits for nothing.
std::optional<time_point> lookup::next_repetition() const {
  timeval buffer{};
  const timeval* const left = ares_timeout(channel_, nullptr, &buffer);
  if (left == nullptr) {
    return std::nullopt;
  }
  // It cuts off what is less than a millisecond, and would be asked over and over until that has passed.
  return clock::now() + std::chrono::seconds(left->tv_sec) + std::chrono::microseconds(left->tv_usec) + 1ms;
}

void lookup::wait_for_answer(std::error_code& ec) {
  descriptor_user user(ready_, use::shared, "resolve");
  while (!answered_ && !is_blind_) {
    const std::optional<time_point> repetition = next_repetition();
    if (!repetition) {
      ec = io::resolve_errc::server_failure;
      return;
    }
    operation op(op_kind::poll, user.fd());
    op.flags = POLLIN;
    const std::int32_t result = user.perform(op, *repetition);
    if (result >= 0) {
      tell_what_is_ready();
    } else if (result != -ETIME) {
      ec = system_error_of(result);
      return;
    }
    ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // what is to be repeated
  }
}

void lookup::tell_what_is_ready() {
  std::array<epoll_event, 8> events;
  const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count && !answered_; ++i) {
    // A number that c-ares has closed since, and may have opened again, does no harm: it tries before it waits.
    const epoll_event each = events[static_cast<std::size_t>(i)];
    const bool failed = (each.events & (EPOLLERR | EPOLLHUP)) != 0;
    ares_process_fd(channel_, failed || (each.events & EPOLLIN) != 0 ? each.data.fd : ARES_SOCKET_BAD,
                    failed || (each.events & EPOLLOUT) != 0 ? each.data.fd : ARES_SOCKET_BAD);
  }
}

std::error_code error_of(int status) noexcept {
  switch (status) {
    case ARES_ENOTFOUND:
      return io::resolve_errc::host_not_found;
    case ARES_ENODATA:
      return io::resolve_errc::no_data;
    case ARES_EBADNAME:
      return io::resolve_errc::bad_name;
    case ARES_ETIMEOUT:
      return io::resolve_errc::timed_out;
    case ARES_ENOMEM:
      return system_error_of(-ENOMEM);
    default:
      // No server to be reached, and answers that are none: SERVFAIL, REFUSED, NOTIMP, garbage. The first
      // is also what 1.18 says when every server answered with SERVFAIL.
      return io::resolve_errc::server_failure;
  }
}

std::vector<io::endpoint> lookup::answer(std::error_code& ec) const {
  if (!answered_ || status_ != ARES_SUCCESS) {
    ec = shortage_ != 0 ? system_error_of(-shortage_) : error_of(status_);
    return {};
  }
  std::vector<io::endpoint> found;
  for (const ares_addrinfo_node* node = addresses_->nodes; node != nullptr; node = node->ai_next) {
    const io::endpoint each = io::endpoint::from_native(node->ai_addr, node->ai_addrlen);
    // A hosts file may well name one twice.
    if (std::find(found.begin(), found.end(), each) == found.end()) {
      found.push_back(each);
    }
  }
  if (found.empty()) {
    ec = io::resolve_errc::no_data;
  }
  return found;
}

}  // namespace

std::vector<io::endpoint> look_up(const std::string& name, const io::resolve_options& options, const runtime_ref& home,
                                  std::error_code& ec) {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) {
    ec = last_system_error();
    return {};
  }
  lookup question(epoll, home);
  if (const int status = question.open(options); status != ARES_SUCCESS) {
    ec = error_of(status);
    return {};
  }
  question.ask(name, options.family);
  question.wait_for_answer(ec);
  return ec ? std::vector<io::endpoint>() : question.answer(ec);
}

}  // namespace aramid::inline v0::detail
