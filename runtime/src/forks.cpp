#include "forks.hpp"

#include <pthread.h>

#include "signal_mask.hpp"

namespace aramid::inline v0::detail {

namespace {

void begin_anew() noexcept {
  forks_seen.fetch_add(1, std::memory_order_relaxed);
  abandon_controls();
  abandon_thread_state();
  abandon_condition_locks();
  abandon_quit_dumps();
  abandon_hog_reports();
  unlock_local_places();
  unlock_log();
  unblock_broken_pipes();
}

// Held across the fork, so that the child finds whole what they guard.
void before_fork() noexcept {
  lock_log();
  lock_local_places();
}

void after_fork() noexcept {
  unlock_local_places();
  unlock_log();
}

}  // namespace

void watch_forks() noexcept {
  static const bool watched = pthread_atfork(before_fork, after_fork, begin_anew) == 0;
  (void)watched;
}

}  // namespace aramid::inline v0::detail
