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

/// A write to a broken pipe is an error to its caller, not the end of the program; MSG_NOSIGNAL covers sockets only.
inline void block_broken_pipes() noexcept { change_signal_mask(SIG_BLOCK, SIGPIPE); }

}  // namespace aramid::inline v0::detail
