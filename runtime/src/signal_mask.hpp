// Which signals the library's threads hear.
#pragma once

#include <signal.h>

namespace aramid::inline v0::detail {

/// `how` as for pthread_sigmask, for the calling thread.
inline void change_signal_mask(int how, int signal) noexcept {
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, signal);
  pthread_sigmask(how, &one, nullptr);
}

/// For a thread of ours: a write to a broken pipe is an error to its caller, not the end of the program; MSG_NOSIGNAL covers sockets only.
void block_broken_pipes() noexcept;

/// In a child that the calling thread has forked, if that is one of ours: what it executes would inherit the mask, and not end when its pipe is
/// broken.
void unblock_broken_pipes() noexcept;

}  // namespace aramid::inline v0::detail
