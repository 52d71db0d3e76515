/* Floor: an echo server with level-triggered epoll, one recv and one send for each event. One loop on
 * one thread, or with --loops N as many, each with an epoll of its own.
 *
 * The connections of a loop share one buffer. What the socket does not take at once is copied to the
 * connection, which is then polled for output alone until it is gone: no more is read from a peer
 * that does not read.
 *
 * With several loops the first accepts for all and hands the connections out in turn, so that each loop
 * has as many as the others. SO_REUSEPORT would let the kernel draw lots: of 64 connections on two
 * loops 28 and 36 is a usual draw, and the fuller loop would be the slower one for a reason that has
 * nothing to do with what is compared.
 *
 * With --stall BYTES it serves the stalled load (stall.h) in requests of so many bytes. */
#define _GNU_SOURCE
#include "echo_server.h"
#include "stall.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/epoll.h>

enum { events_at_once = 512, loops_at_most = 64, request_bytes_at_most = 1 << 26 };

struct loop {
  int poller;
  pthread_t thread;
  char buffer[echo_buffer_bytes];
};

struct connection {
  struct loop* home;
  int descriptor;
  size_t request_position; /* for the stalled load */
  size_t unsent_bytes;
  size_t unsent_offset;
  char* unsent; /* NULL unless a send was cut short */
};

static struct loop loops[loops_at_most]; /* the first has the listener */
static unsigned loop_count = 1;
static size_t stall_request_bytes; /* 0: no request asks for anything */
static int listener;
static atomic_bool listener_paused; /* no descriptor was left; looked at again when one is closed */

static void watch(struct loop* home, int operation, int descriptor, uint32_t events, void* data) {
  struct epoll_event event;
  event.events = events;
  event.data.ptr = data;
  if (epoll_ctl(home->poller, operation, descriptor, &event) != 0) {
    echo_die("epoll_ctl");
  }
}

static void pause_listener(void) {
  epoll_ctl(loops[0].poller, EPOLL_CTL_DEL, listener, NULL);
  atomic_store(&listener_paused, true);
}

static void resume_listener(void) {
  if (atomic_load(&listener_paused) && atomic_exchange(&listener_paused, false)) {
    watch(&loops[0], EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
  }
}

static void close_connection(struct connection* peer) {
  close(peer->descriptor);
  free(peer->unsent);
  free(peer);
  resume_listener();
}

static void accept_all(void) {
  static unsigned next_loop;
  for (bool paused = false;;) {
    const int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor >= 0) {
      struct connection* peer = calloc(1, sizeof(*peer));
      if (peer == NULL) {
        echo_die("calloc");
      }
      peer->descriptor = descriptor;
      peer->home = &loops[next_loop++ % loop_count];
      watch(peer->home, EPOLL_CTL_ADD, descriptor, EPOLLIN, peer); /* the last touch */
      if (paused) {
        paused = false;
        resume_listener();
      }
    } else if ((errno == EMFILE || errno == ENFILE) && !paused) {
      pause_listener();
      paused = true; /* and once more: another loop may have closed one before it could see that */
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

/* Keeps `count` bytes that the socket did not take. */
static void keep_unsent(struct connection* peer, const char* bytes, size_t count) {
  peer->unsent = malloc(count);
  if (peer->unsent == NULL) {
    echo_die("malloc");
  }
  memcpy(peer->unsent, bytes, count);
  peer->unsent_bytes = count;
  peer->unsent_offset = 0;
  watch(peer->home, EPOLL_CTL_MOD, peer->descriptor, EPOLLOUT, peer);
}

static void on_readable(struct connection* peer) {
  char* const buffer = peer->home->buffer;
  const ssize_t got = recv(peer->descriptor, buffer, echo_buffer_bytes, 0);
  if (got <= 0) {
    if (got == 0 || errno != EAGAIN) {
      close_connection(peer);
    }
    return;
  }
  if (stall_request_bytes != 0) {
    stall_burn(
        stall_count_marks(&peer->request_position, stall_request_bytes, buffer, (size_t)got));
  }
  ssize_t sent = send(peer->descriptor, buffer, (size_t)got, MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno != EAGAIN) {
      close_connection(peer);
      return;
    }
    sent = 0;
  }
  if (sent < got) {
    keep_unsent(peer, buffer + sent, (size_t)(got - sent));
  }
}

static void on_writable(struct connection* peer) {
  const ssize_t sent =
      send(peer->descriptor, peer->unsent + peer->unsent_offset, peer->unsent_bytes, MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno != EAGAIN) {
      close_connection(peer);
    }
    return;
  }
  peer->unsent_offset += (size_t)sent;
  peer->unsent_bytes -= (size_t)sent;
  if (peer->unsent_bytes == 0) {
    free(peer->unsent);
    peer->unsent = NULL;
    watch(peer->home, EPOLL_CTL_MOD, peer->descriptor, EPOLLIN, peer);
  }
}

static void* run(void* argument) {
  struct loop* self = argument;
  struct epoll_event events[events_at_once];
  for (;;) {
    const int count = epoll_wait(self->poller, events, events_at_once, -1);
    for (int i = 0; i < count; ++i) {
      struct connection* peer = events[i].data.ptr;
      if (peer == NULL) {
        accept_all();
      } else if (peer->unsent != NULL) {
        on_writable(peer);
      } else {
        on_readable(peer);
      }
    }
  }
  return NULL;
}

int main(int argc, char** argv) {
  const long wanted = echo_take_number(&argc, argv, "--loops", loops_at_most);
  stall_request_bytes = (size_t)echo_take_number(&argc, argv, "--stall", request_bytes_at_most);
  if (wanted != 0) {
    loop_count = (unsigned)wanted;
  }
  listener = echo_listen_at(echo_parse_with(argc, argv, " [--loops N] [--stall BYTES]"),
                            SOCK_NONBLOCK);
  for (unsigned i = 0; i != loop_count; ++i) {
    loops[i].poller = epoll_create1(EPOLL_CLOEXEC);
    if (loops[i].poller < 0) {
      echo_die("epoll_create1");
    }
  }
  watch(&loops[0], EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
  for (unsigned i = 1; i < loop_count; ++i) {
    errno = pthread_create(&loops[i].thread, NULL, run, &loops[i]);
    if (errno != 0) {
      echo_die("pthread_create");
    }
  }
  run(&loops[0]);
}
