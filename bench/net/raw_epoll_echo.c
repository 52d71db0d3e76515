/* Floor: an echo server on one thread with level-triggered epoll, one recv and one send for each
 * event.
 *
 * All connections share one buffer. What the socket does not take at once is copied to the
 * connection, which is then polled for output alone until it is gone: no more is read from a peer
 * that does not read. */
#define _GNU_SOURCE
#include "echo_server.h"

#include <stdbool.h>
#include <sys/epoll.h>

enum { events_at_once = 512 };

struct connection {
  int descriptor;
  size_t unsent_bytes;
  size_t unsent_offset;
  char* unsent; /* NULL unless a send was cut short */
};

static int poller;
static int listener;
static bool listener_paused; /* no descriptor was left; looked at again when one is closed */
static char buffer[echo_buffer_bytes];

static void watch(int operation, int descriptor, uint32_t events, void* data) {
  struct epoll_event event;
  event.events = events;
  event.data.ptr = data;
  if (epoll_ctl(poller, operation, descriptor, &event) != 0) {
    echo_die("epoll_ctl");
  }
}

static void close_connection(struct connection* peer) {
  close(peer->descriptor);
  free(peer->unsent);
  free(peer);
  if (listener_paused) {
    listener_paused = false;
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
  }
}

static void accept_all(void) {
  for (;;) {
    const int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor >= 0) {
      struct connection* peer = calloc(1, sizeof(*peer));
      if (peer == NULL) {
        echo_die("calloc");
      }
      peer->descriptor = descriptor;
      watch(EPOLL_CTL_ADD, descriptor, EPOLLIN, peer);
    } else if (errno == EMFILE || errno == ENFILE) {
      listener_paused = true;
      epoll_ctl(poller, EPOLL_CTL_DEL, listener, NULL);
      return;
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
  watch(EPOLL_CTL_MOD, peer->descriptor, EPOLLOUT, peer);
}

static void on_readable(struct connection* peer) {
  const ssize_t got = recv(peer->descriptor, buffer, sizeof(buffer), 0);
  if (got <= 0) {
    if (got == 0 || errno != EAGAIN) {
      close_connection(peer);
    }
    return;
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
    watch(EPOLL_CTL_MOD, peer->descriptor, EPOLLIN, peer);
  }
}

int main(int argc, char** argv) {
  static struct epoll_event events[events_at_once];

  listener = echo_listen(argc, argv, SOCK_NONBLOCK);
  poller = epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0) {
    echo_die("epoll_create1");
  }
  watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
  for (;;) {
    const int count = epoll_wait(poller, events, events_at_once, -1);
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
}
