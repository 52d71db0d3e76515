#include "forks.hpp"

#include <pthread.h>

namespace aramid::inline v0::detail {

namespace {

void begin_anew() noexcept {
  forks_seen.fetch_add(1, std::memory_order_relaxed);
  abandon_controls();
  abandon_thread_state();
  abandon_condition_locks();
  abandon_local_places();
  abandon_quit_dumps();
  abandon_hog_reports();
  unlock_log();
}

}  // namespace

void watch_forks() noexcept {
  static const bool watched = pthread_atfork(lock_log, unlock_log, begin_anew) == 0;
  (void)watched;
}

}  // namespace aramid::inline v0::detail
