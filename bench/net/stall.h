/* The stalled load: what net_load and the servers of this directory agree on.
 *
 * A connection's stream is cut into requests of a size that both sides are told. The lowest bit of a
 * request's first byte is its mark: set, it asks the server for 1 ms of CPU time before the
 * answer. So the answer is still what came, byte for byte, and a mark may be checked like any other bit.
 *
 * The millisecond is of computing: no system call, since a thread that makes one is met by
 * io_uring's task work and by the scheduler, which the stall is to keep waiting; and of this thread's
 * own time, so that two servers that are preempted differently still burn the same.
 */
#ifndef ARAMID_BENCH_STALL_H
#define ARAMID_BENCH_STALL_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { stall_mark = 1, stall_ns = 1000 * 1000 };

/* Returns: how many marked requests begin in the `count` bytes that come next on a connection;
 * `position`, how far its current request has come, is moved on behind them. */
static inline unsigned stall_count_marks(size_t* position, size_t request_bytes, const void* bytes,
                                         size_t count) {
  const unsigned char* from = (const unsigned char*)bytes;
  unsigned marks = 0;
  for (size_t i = *position == 0 ? 0 : request_bytes - *position; i < count; i += request_bytes) {
    marks += from[i] & stall_mark;
  }
  *position = (*position + count) % request_bytes;
  return marks;
}

static inline uint64_t stall_clock_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time); /* no system call where there is a vDSO */
  return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

/* Computes for `stalls` milliseconds of the calling thread's own time. Two readings of the clock that
 * lie further apart than computing explains say that somebody else ran: that time does not count. */
static inline void stall_burn(unsigned stalls) {
  const uint64_t somebody_else_ns = 5000;
  const uint64_t wanted = (uint64_t)stalls * stall_ns;
  uint64_t burnt = 0;
  uint64_t before = stall_clock_ns();
  while (burnt < wanted) {
    const uint64_t now = stall_clock_ns();
    if (now - before < somebody_else_ns) {
      burnt += now - before;
    }
    before = now;
  }
}

#endif
