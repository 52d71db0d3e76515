/* What the echo servers of this directory share: their command line, the descriptor limit and how
 * they end.
 *
 * They exist to be compared with, so they are what one would write first and not less: no
 * abstraction, no allocation per request. The message loops, which differ, are in the *_echo files.
 */
#ifndef ARAMID_BENCH_ECHO_SERVER_H
#define ARAMID_BENCH_ECHO_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { echo_buffer_bytes = 16 * 1024, echo_backlog = 4096 };
enum { echo_no_io_uring = 3 }; /* exit code: this machine refuses io_uring */

struct echo_arguments {
  const char* host; /* a numeric IPv4 address */
  uint16_t port;    /* 0: the kernel chooses */
};

static inline void echo_die(const char* what) {
  perror(what);
  exit(1);
}

/* Reads --host H and --port N; exits 2 with a message on anything else. */
static inline struct echo_arguments echo_parse(int argc, char** argv) {
  struct echo_arguments arguments = {"127.0.0.1", 7777};
  for (int i = 1; i < argc; i += 2) {
    const char* value = i + 1 < argc ? argv[i + 1] : NULL;
    char* end = NULL;
    if (value != NULL && strcmp(argv[i], "--host") == 0) {
      struct in_addr ignored;
      arguments.host = value;
      if (inet_pton(AF_INET, value, &ignored) == 1) {
        continue;
      }
    } else if (value != NULL && strcmp(argv[i], "--port") == 0) {
      const long port = strtol(value, &end, 10);
      arguments.port = (uint16_t)port;
      if (*value != '\0' && *end == '\0' && port >= 0 && port <= 65535) {
        continue;
      }
    }
    fprintf(stderr, "%s: bad argument \"%s\"\nusage: %s [--host IPV4] [--port N]\n", argv[0],
            argv[i], argv[0]);
    exit(2);
  }
  return arguments;
}

static inline void echo_raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

static inline void echo_on_signal(int signal_number) {
  (void)signal_number;
  _exit(0); /* the kernel closes everything; nothing else is held */
}

static inline void echo_exit_on_signals(void) {
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_handler = echo_on_signal;
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

static inline void echo_print_listening(const char* host, uint16_t port) {
  printf("listening on %s:%u\n", host, (unsigned)port);
  fflush(stdout);
}

/* Does all of the above and returns the listening socket; `flags` may be SOCK_NONBLOCK. */
static inline int echo_listen(int argc, char** argv, int flags) {
  const struct echo_arguments arguments = echo_parse(argc, argv);
  const int yes = 1;
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  struct sockaddr_in address;
  socklen_t length = sizeof(address);

  echo_exit_on_signals();
  echo_raise_descriptor_limit();
  if (listener < 0) {
    echo_die("socket");
  }
  memset(&address, 0, sizeof(address));
  address.sin_family = AF_INET;
  address.sin_port = htons(arguments.port);
  inet_pton(AF_INET, arguments.host, &address.sin_addr);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &yes,
             sizeof(yes)); /* accepted sockets inherit it */
  if (bind(listener, (const struct sockaddr*)&address, sizeof(address)) != 0) {
    echo_die("bind");
  }
  if (listen(listener, echo_backlog) != 0) {
    echo_die("listen");
  }
  if (getsockname(listener, (struct sockaddr*)&address, &length) != 0) {
    echo_die("getsockname");
  }
  echo_print_listening(arguments.host, ntohs(address.sin_port));
  return listener;
}

#endif
