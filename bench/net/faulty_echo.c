/* An echo server that answers every connection well for a while, then commits the --fault it is
 * told to: flip a byte, swallow one, double one, reset the connection, close it, or fall silent. Or
 * "pause": it stands still once, for all its connections, and goes on well. Or "leave": it closes each
 * connection instead of its first answer. For tests of net_load. */
#define _GNU_SOURCE
#include "echo_server.h"

#include <poll.h>
#include <time.h>

enum { connections_at_most = 64, good_answers = 20 };
enum fault { flip, swallow, twice, reset, finish, silence, stand_still, leave, last_fault = leave };

static const char* const fault_names[] = {"flip",  "swallow", "double", "reset",
                                          "close", "silence", "pause", "leave"};

struct connection {
  int answers;
};

/* Takes "--fault NAME" off the front of the command line; the program's name moves up behind it. */
static enum fault take_fault(int* argc, char*** argv) {
  char** words = *argv;
  for (int i = 0; *argc >= 3 && strcmp(words[1], "--fault") == 0 && i <= last_fault; ++i) {
    if (strcmp(words[2], fault_names[i]) == 0) {
      words[2] = words[0];
      *argv = words + 2;
      *argc -= 2;
      return (enum fault)i;
    }
  }
  fprintf(stderr,
          "usage: %s --fault flip|swallow|double|reset|close|silence|pause|leave [--host IPV4] [--port N]\n",
          words[0]);
  exit(2);
}

static void drop(struct pollfd* entry) {
  close(entry->fd);
  entry->fd = -1;
}

static void send_all(struct pollfd* entry, const char* bytes, size_t count) {
  if (count > 0 && send(entry->fd, bytes, count, MSG_NOSIGNAL) != (ssize_t)count) {
    drop(entry);
  }
}

static void stand_still_once(void) {
  const struct timespec while_asked = {0, 300 * 1000 * 1000};
  static int done = 0;
  if (!done) {
    done = 1;
    nanosleep(&while_asked, NULL);
  }
}

static void misbehave(struct pollfd* entry, enum fault fault, char* bytes, size_t count) {
  const struct linger at_once = {1, 0};
  switch (fault) {
    case flip:
      bytes[count / 2] ^= 1;
      send_all(entry, bytes, count);
      break;
    case swallow:
      memmove(bytes, bytes + 1, count - 1);
      send_all(entry, bytes, count - 1);
      break;
    case twice:
      send_all(entry, bytes, 1);
      send_all(entry, bytes, count);
      break;
    case reset:
      setsockopt(entry->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
      drop(entry);
      break;
    case finish:
    case leave:
      drop(entry);
      break;
    case silence:
      break;
    case stand_still:
      stand_still_once();
      send_all(entry, bytes, count);
      break;
  }
}

static void serve(struct pollfd* entry, struct connection* peer, enum fault fault) {
  static char bytes[echo_buffer_bytes];
  const ssize_t got = recv(entry->fd, bytes, sizeof(bytes), 0);
  if (got <= 0) {
    drop(entry);
  } else if (peer->answers++ < (fault == leave ? 0 : good_answers)) {
    send_all(entry, bytes, (size_t)got);
  } else {
    misbehave(entry, fault, bytes, (size_t)got);
  }
}

int main(int argc, char** argv) {
  static struct pollfd entries[connections_at_most + 1]; /* the listener is the last */
  static struct connection peers[connections_at_most];
  const enum fault fault = take_fault(&argc, &argv);
  const int listener = echo_listen(argc, argv, 0);

  for (int i = 0; i < connections_at_most; ++i) {
    entries[i].fd = -1;
    entries[i].events = POLLIN;
  }
  entries[connections_at_most].fd = listener;
  entries[connections_at_most].events = POLLIN;
  for (;;) {
    poll(entries, connections_at_most + 1, -1);
    for (int i = 0; i < connections_at_most; ++i) {
      if (entries[i].fd >= 0 && entries[i].revents != 0) {
        serve(&entries[i], &peers[i], fault);
      }
    }
    for (int i = 0; i < connections_at_most && (entries[connections_at_most].revents & POLLIN) != 0;
         ++i) {
      if (entries[i].fd < 0) {
        entries[i].fd = accept(listener, NULL, NULL);
        peers[i].answers = 0;
        break;
      }
    }
  }
}
