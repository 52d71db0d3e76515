// fork without exec: the child has a copy of the runtimes' memory, and of their threads at most the one that forked. Whatever the others
// held locked stays so, and what they were about to do is never done. So in the child
//
//   1. a runtime of the parent is of no use: spawn, join and I/O through it refuse (std::logic_error), stop and destructors
//      return at once and leave it where it is;
//   2. a fiber that forked is a plain thread there, which has entered the parent's runtime: it may exec or _exit, wait for other
//      threads, and make a runtime of its own. It must not return from its body: nobody is left to go on with (a line in the log, and
//      std::terminate);
//   3. a thread of ours no longer blocks SIGPIPE there;
//   4. what the library shares between runtimes begins anew (`abandon_…`), so that a new runtime works. The lock of the log is
//      held across the fork instead, because a handler of the user's lies behind it.
#pragma once

#include <atomic>
#include <cstdint>

namespace aramid::inline v0::detail {

/// Has the calling process's children count as such; before the first runtime starts. Idempotent.
void watch_forks() noexcept;

// Written in a child while it has one thread: relaxed.
inline constinit std::atomic<std::uint32_t> forks_seen{0};

/// How many forks lie between this process and the one that called `watch_forks` first: what was made at another count
/// belongs to another process.
[[nodiscard]] inline std::uint32_t fork_count() noexcept { return forks_seen.load(std::memory_order_relaxed); }

// What begins anew in a child, each defined where it lies. Called while the child has one thread, whatever others were in the middle of.
void abandon_controls() noexcept;         // all control blocks; what the child returns of them is ignored
void abandon_thread_state() noexcept;     // the waiters of threads, and what the calling one was
void abandon_condition_locks() noexcept;
void abandon_quit_dumps() noexcept;
void abandon_hog_reports() noexcept;
void lock_log() noexcept;
void unlock_log() noexcept;
void lock_local_places() noexcept;
void unlock_local_places() noexcept;

}  // namespace aramid::inline v0::detail
