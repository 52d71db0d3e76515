// One operation that the kernel does for a fiber, and its life. An operation stands on the stack of
// the fiber that waits for it, so the whole point of the protocol is that the fiber does not leave
// before the kernel has (DESIGN §2, law 3).
//
// An operation is *pending* (the fiber waits for its completion), *cancelling* (the fiber has asked
// for the end of it and waits for its completion all the same) or *done*. Its completion_word
// holds the epoch of the wait that its completion shall end, or `done`:
//
//   1. The fiber begins a wait and puts its token into the operation: `expect`.
//   2. It submits the operation to the driver of the worker it is on. The driver gives it a ticket
//      (slot and generation); the kernel never learns an address of the operation.
//   3. It parks.
//   4. Whoever reaps the completion finds the operation by its ticket, writes the result, puts `done`
//      in and ends the wait whose token was there, through a wake_batch: `finish`. `done` is the
//      last touch of the operation: from here on the fiber may leave.
//   5. The fiber looks at the word, not at who woke it. `done`: the result is delivered, even if a
//      cancellation, a deadline or a closing descriptor won the wait meanwhile; it will be seen at
//      the next wait (law 2).
//   6. Not `done`: somebody else ended the wait of step 3. The operation is cancelling from here.
//      The fiber begins a second wait that nothing can cancel, and swaps its token in:
//      `expect_instead`. If that fails the completion has come in between: as 5.
//   7. It asks the driver that has the operation to cancel it, and parks until step 4 has happened.
//      A cancel can miss a target that is just changing hands inside the kernel, so it is asked
//      again after a while.
//   8. The target's completion decides. A real outcome (bytes, a connection, an error) is delivered
//      as in 5; only -ECANCELED or -EINTR say that nothing was done, and then the fiber reports why
//      it stopped waiting. What the cancel itself returned is looked at by nobody.
//
// With a driver that only says when it is worth trying (io_driver.hpp) the kernel never holds anything of an operation: what is submitted
// and cancelled by these steps is the wait until then, and the result is a system call's that the fiber makes.
//
// A token that is still somewhere after its wait has ended (the one of step 1 after step 6) wakes
// nobody: park.hpp.
//
// Rejected: the operation's address as user_data, which saves the table but lets a late cancel hit
// the next operation at the same address (DESIGN §5); a heap-allocated operation that outlives the
// fiber, which saves step 7 but needs the buffer to outlive it too.
#pragma once

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <limits>

#include <aramid/driver.hpp>
#include <aramid/park.hpp>

#include "completion_word.hpp"

namespace aramid::inline v0::detail {

class io_driver;
class descriptor_user;
class lent_buffers;

enum class op_kind : std::uint8_t {
  read,     ///< address, length, offset (`stream_offset`: where the descriptor stands)
  write,    ///< as read
  receive,  ///< address, length, flags: MSG_*
  send,     ///< as receive
  receive_lent,     ///< length: the most, flags: MSG_*; into memory of the driver's, which `address` and `lender` name if bytes came
  receive_message,  ///< address: a msghdr of iovecs and nothing else, length: 1, flags: MSG_*
  send_message,     ///< as receive_message
  accept,   ///< flags: SOCK_*
  connect,  ///< address, length: the sockaddr
  open,     ///< address: the path, flags: O_*, mode
  close,
  sync,  ///< flags: `data_only` or 0
  stat,  ///< address: a struct statx, length: its mask
  poll,  ///< flags: the poll events
};

/// For `offset`: a descriptor that has no positions.
inline constexpr std::uint64_t stream_offset = std::numeric_limits<std::uint64_t>::max();
/// For `flags` of `sync`: the data, and of the metadata what is needed to read them back.
inline constexpr std::uint32_t data_only = 1;
/// The kernel moves no more than this in one call (read(2)).
inline constexpr std::size_t max_transfer_bytes = 0x7ffff000;

struct operation {
  explicit operation(op_kind what, int descriptor) noexcept : kind(what), fd(descriptor) {}
  operation(const operation&) = delete;
  operation& operator=(const operation&) = delete;

  // What is asked: written by the fiber before `submit`, read by the driver.
  const op_kind kind;
  const int fd;
  std::uint32_t length = 0;
  std::uint32_t flags = 0;
  std::uint32_t mode = 0;
  bool to_device = false;  ///< reads past the page cache, or writes so: goes to the kernel at once, not with the owner's sleep
  void* address = nullptr;
  std::uint64_t offset = 0;

  // What came of it: written by the reaper before `finish`, read by the fiber when `is_done`.
  std::int32_t result = 0;  ///< as the system call's: >= 0, or -errno
  lent_buffers* lender;     ///< of a `receive_lent` that got bytes: whose memory they are in; null: malloc's

  // Where it is: written by `submit`.
  io_driver* home = nullptr;
  std::uint64_t ticket = 0;

  // The use of the descriptor that it is for; null if it is for none of ours.
  descriptor_user* user = nullptr;

  // Where it waits for readiness: the driver's, under the descriptor's lock (epoll/registration.hpp).
  operation* next;
  operation** link = nullptr;  // what points here; null while it does not wait

  /// Step 1.
  void expect(park_token token) noexcept {
    who_ = token.who;
    word_.expect(token.epoch);
  }

  /// Step 6. Returns: false if the operation is done.
  [[nodiscard]] bool expect_instead(park_token token) noexcept { return word_.expect_instead(token.epoch); }

  /// Step 5. The result is there if the wait that was expected has ended.
  [[nodiscard]] bool is_done() const noexcept { return word_.is_done(); }

  /// Step 4. The operation may be gone when it returns.
  void finish(std::int32_t outcome, wake_batch& batch) noexcept {
    const park_token token{who_, word_.expected()};
    if (ARAMID_LIKELY(claim(token))) {
      result = outcome;
      word_.finish_claimed();
      batch.add_claimed(token);
    } else {
      batch.add(finish(outcome));
    }
  }

  /// The same, but for the end of the wait, which is left to the caller.
  /// Returns: the token of who waits.
  [[nodiscard]] park_token finish(std::int32_t outcome) noexcept {
    result = outcome;
    // One waiter waits for one operation, so `who` does not change with the epoch; read it before
    // the last touch.
    detail::waiter* const who = who_;
    return {who, word_.finish()};
  }

  /// Has the cache fetch what `finish` will touch: first the operation, and when that has come who waits for it. While nobody else can finish it.
  void prefetch() const noexcept {
    __builtin_prefetch(&result, 1);
    __builtin_prefetch(&word_, 1);
  }
  void prefetch_waiter() const noexcept { detail::prefetch(who_); }

  /// What its descriptor has to be ready for before it is worth trying, as poll(2) says it.
  [[nodiscard]] std::uint32_t events() const noexcept {
    switch (kind) {
      case op_kind::poll:
        return flags;
      case op_kind::write:
      case op_kind::send:
      case op_kind::send_message:
      case op_kind::connect:
        return POLLOUT;
      default:
        return POLLIN;
    }
  }

private:
  detail::waiter* who_ = nullptr;  // the fiber, before `submit`
  completion_word<> word_;
};

}  // namespace aramid::inline v0::detail
