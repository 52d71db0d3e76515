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

/* Takes "NAME N" off the command line; N is 1..most. Returns: N, or 0 if NAME is not there or stands
 * before something else, which echo_parse then complains of. */
static inline long echo_take_number(int* argc, char** argv, const char* name, long most) {
  for (int i = 1; i + 1 < *argc; ++i) {
    if (strcmp(argv[i], name) == 0) {
      char* end = NULL;
      const long number = strtol(argv[i + 1], &end, 10);
      if (end == argv[i + 1] || *end != '\0' || number < 1 || number > most) {
        return 0;
      }
      for (int k = i + 2; k <= *argc; ++k) { /* the NULL at the end too */
        argv[k - 2] = argv[k];
      }
      *argc -= 2;
      return number;
    }
  }
  return 0;
}

/* Reads --host H and --port N; exits 2 with a message, which names `more` options, on anything else. */
static inline struct echo_arguments echo_parse_with(int argc, char** argv, const char* more) {
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
    fprintf(stderr, "%s: bad argument \"%s\"\nusage: %s [--host IPV4] [--port N]%s\n", argv[0],
            argv[i], argv[0], more);
    exit(2);
  }
  return arguments;
}

static inline struct echo_arguments echo_parse(int argc, char** argv) {
  return echo_parse_with(argc, argv, "");
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

/* Does the rest of the above and returns the listening socket; `flags` may be SOCK_NONBLOCK. */
static inline int echo_listen_at(struct echo_arguments arguments, int flags) {
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

static inline int echo_listen(int argc, char** argv, int flags) {
  return echo_listen_at(echo_parse(argc, argv), flags);
}

#endif
