// A descriptor that fibers use and anybody may close. Its number must not be given back to the
// kernel while an operation names it, or the operation would hit whatever is opened next (DESIGN
// §5: liburing#363), and a close(2) alone neither ends operations nor sends a FIN while they hold
// the file (liburing#932). So:
//
//   Use:    1. Whoever is to name the number in a system call or operation becomes a
//              `descriptor_user` first: one exchange that counts it in `word_`, unless the
//              descriptor is closing. Readers and writers that must be alone of their kind set
//              their bit in the same exchange.
//           2. When the call or operation is over, one exchange counts it out.
//   Close:  1. Set `closing`. Whoever finds it set already has nothing to do. From here on nobody
//              becomes a user.
//           2. If there are users, end what they wait for: shutdown(2) for a socket, which wakes
//              receive, send and accept alike and covers operations that the kernel has not even
//              seen yet; for the rest each waiting user's wait is ended, and the fiber then takes
//              its own operation back (operation.hpp, step 6). The closer never touches an
//              operation.
//           3. Set `draining` and, if that exchange finds users left, wait for the last of them,
//              who finds `draining` set when it counts itself out and wakes the closer. Shielded
//              from cancellation (law 1).
//           4. close(2).
//   Writer: A reader that has to know what the writer of the moment is told (stream_socket.hpp, "The end") waits for it to leave:
//           1. It publishes its token and then sets `reader_waits`, by a compare-exchange that fails if there is no writer.
//           2. The writer takes that bit off in the exchange that counts it out, and then wakes the reader. Whoever took it off is the
//              only one to wake, and nothing else ends that wait, so reader and descriptor are still there.
//
// There is one descriptor object per open descriptor, and it is never used for another one: the
// object is the generation that the hazard table asks for. It lives as long as the stream, listener
// or file that has it; close only empties it.
//
// Rejected: shutdown(2) always, also without users: a plain close does all that it does, and
// SO_LINGER 0 then sends its RST without a FIN before it. Tokens for sockets too: a second exchange
// per operation for what shutdown(2) gives.
// The word, and what of it orders what, is descriptor_word.hpp, which is model-checked.
#pragma once

#include <atomic>
#include <cstdint>
#include <system_error>
#include <utility>

#include <aramid/detail/runtime_ref.hpp>
#include <aramid/detail/spin_lock.hpp>
#include <aramid/park.hpp>

#include "descriptor_word.hpp"
#include "perform.hpp"

namespace aramid::inline v0::detail {

class descriptor_user;
struct operation;
struct registration;

class descriptor {
public:
  enum class kind : std::uint8_t { socket, file, event };

  /// Takes `fd` over. `home` is the runtime that does the I/O of plain threads.
  descriptor(int fd, kind what, runtime_ref home) noexcept
      : fd_(fd), kind_(what), home_(std::move(home)) {}

  /// Closes. By C++'s rules nobody uses it any more, so there is nothing to wait for but the close
  /// of a file.
  ~descriptor() { (void)close(); }

  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;

  /// The protocol above.
  /// Suspends: until the last user has left; a file's close(2) also while the file system writes
  ///           back.
  /// Cancels:  never.
  /// Returns:  what close(2) said; nothing to a caller that came second.
  std::error_code close() noexcept;

  /// Gives the number away, open. The object is as if closed.
  /// Returns: -1 if it is closed. Throws: std::logic_error, naming `who`, if it is in use.
  int release(const char* who);

  [[nodiscard]] bool is_open() const noexcept { return word_.is_open(); }

  /// For native_handle(): the number, or -1 when it is closed.
  [[nodiscard]] int number() const noexcept { return is_open() ? fd_ : -1; }

  /// The runtime for what comes out of this descriptor: the caller's, if it has one.
  [[nodiscard]] runtime_ref heirs_home() const noexcept {
    runtime_ref current = runtime_ref::current();
    return current ? current : home_;
  }

private:
  friend class descriptor_user;

  void end_waits() noexcept;
  void wait_for_users() noexcept;
  std::error_code close_number() noexcept;
  void unregister() noexcept;

  // What every use looks at, in half a cache line.
  descriptor_word<> word_;  // everybody
  const int fd_;
  std::atomic<int> broken_by_{0};                     // a reader or a writer
  std::atomic<registration*> registration_{nullptr};  // whoever is first to need one; the closer takes it
  const kind kind_;

  spin_lock watch_lock_;
  const runtime_ref home_;
  descriptor_user* watched_ = nullptr;  // under watch_lock_: the users whose wait a close must end
  park_token
      closer_;  // the closer, before it sets `draining`; the last user, after it has seen that
  park_token reader_;  // the reader, before it sets `reader_waits`; the writer, after it has taken that off
};

/// How a user shares the descriptor with others.
enum class use : std::uint8_t { shared, reader, writer };

/// One use of a descriptor, for as long as the object lives. On the stack of the user.
class descriptor_user {
public:
  /// Throws: std::logic_error, naming `who`, if there is a reader (writer) already.
  descriptor_user(descriptor& d, use how, const char* who) : descriptor_(d), who_(who) {
    const std::uint64_t mark = how == use::reader   ? descriptor_word<>::one_reader
                               : how == use::writer ? descriptor_word<>::one_writer
                                                    : descriptor_word<>::one_user;
    const descriptor_word<>::refusal refusal = d.word_.enter(mark);
    if (ARAMID_LIKELY(refusal == descriptor_word<>::refusal::none)) {
      mark_ = mark;
    } else if (refusal == descriptor_word<>::refusal::not_alone) {
      throw_not_alone(how);
    }
  }

  ~descriptor_user() {
    if (ARAMID_UNLIKELY(mark_ == 0)) {
      return;
    }
    if (ARAMID_UNLIKELY(watched_)) {
      delist();
    }
    const descriptor_word<>::waiter waiter = descriptor_.word_.leave(mark_);
    if (ARAMID_UNLIKELY(waiter != descriptor_word<>::waiter::none)) {
      wake(waiter);
    }
  }

  descriptor_user(const descriptor_user&) = delete;
  descriptor_user& operator=(const descriptor_user&) = delete;

  /// Whether the descriptor was open; if not, there is nothing to use.
  explicit operator bool() const noexcept { return mark_ != 0; }

  /// Whether somebody has begun to close it meanwhile.
  [[nodiscard]] bool closing() const noexcept { return !descriptor_.is_open(); }

  [[nodiscard]] int fd() const noexcept { return descriptor_.fd_; }

  /// The error that broke the connection: the kernel tells of it once, a reader or a writer, and from then on a reader meets what looks like an end
  /// of stream.
  void note_broken_by(int error) noexcept { descriptor_.broken_by_.store(error, std::memory_order_relaxed); }
  /// Returns: what was noted last, or 0.
  [[nodiscard]] int broken_by() const noexcept { return descriptor_.broken_by_.load(std::memory_order_relaxed); }

  /// Whether there is a writer at the moment. What one noted that has left is seen by who sees that it has left.
  [[nodiscard]] bool has_writer() const noexcept { return descriptor_.word_.has_writer(); }

  /// Whether the reader is in `wait_for_writer`. For tests.
  [[nodiscard]] bool reader_waits() const noexcept { return descriptor_.word_.has_waiting_reader(); }

  /// Waits until the writer of the moment, if there is one, has left. For the reader, when nothing that the writer waits for can be long in coming.
  /// Suspends: until then. Cancels: never.
  void wait_for_writer() noexcept;

  /// `perform` for the descriptor's owner; `op` must name this use's descriptor.
  /// Suspends, Cancels, Returns, Throws: as `perform`.
  std::int32_t perform(operation& op, time_point deadline = time_point::max()) {
    op.user = this;
    return detail::perform(op, descriptor_.home_, who_, deadline);
  }

  /// What a readiness driver remembers of the descriptor; made by the first call.
  /// Returns: nullptr if there is no memory.
  [[nodiscard]] registration* registered() noexcept;

  /// Lets a close end the wait of `token`, until the next `watch` or the end of the use. Sockets
  /// need none of it.
  /// Returns: false if the close has begun.
  [[nodiscard]] bool watch(park_token token) noexcept {
    // A socket's close shuts it down, which ends every wait.
    return descriptor_.kind_ == descriptor::kind::socket || enlist(token);
  }

private:
  friend class descriptor;

  [[noreturn]] void throw_not_alone(use how) const;
  [[nodiscard]] bool enlist(park_token token) noexcept;
  void delist() noexcept;
  /// Behind the exchange that has counted it out. The descriptor is still there for who waits for that, and perhaps not after.
  void wake(descriptor_word<>::waiter waiter) noexcept;

  descriptor& descriptor_;
  const char* const who_;
  std::uint64_t mark_ = 0;  // what to take off the word at the end

  bool watched_ = false;  // in the list; the user only

  // Under the descriptor's watch_lock_, and of no meaning while it is not in the list.
  park_token token_;
  descriptor_user* next_;
  descriptor_user** link_;  // what points here
};

}  // namespace aramid::inline v0::detail
