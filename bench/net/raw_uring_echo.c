/* Floor: an echo server on one thread with one io_uring: multishot accept, recv and send by turns.
 *
 * Each connection has its own buffer and exactly one operation pending, so its descriptor is closed
 * only when the kernel holds nothing of it. SQEs are batched: one io_uring_enter submits all that
 * the last batch of completions led to, and waits for the next. The ring's flags are those of the
 * library (no SINGLE_ISSUER, no DEFER_TASKRUN). */
#define _GNU_SOURCE
#include "echo_server.h"

#include <liburing.h>
#include <stdbool.h>

enum { sq_entries = 1024, cq_entries = 4 * sq_entries };

enum operation { operation_receive, operation_send };

struct connection {
  int descriptor;
  enum operation pending;
  unsigned received; /* bytes in `bytes` */
  unsigned sent;     /* of which these have gone out */
  char bytes[echo_buffer_bytes];
};

static struct io_uring ring;
static int listener;
static bool accept_armed;

static struct io_uring_sqe* next_sqe(void) {
  struct io_uring_sqe* sqe = io_uring_get_sqe(&ring);
  while (sqe == NULL) { /* the queue is full */
    io_uring_submit(&ring);
    sqe = io_uring_get_sqe(&ring);
  }
  return sqe;
}

static void arm_accept(void) {
  struct io_uring_sqe* sqe = next_sqe();
  io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
  io_uring_sqe_set_data(sqe, NULL);
  accept_armed = true;
}

static void receive(struct connection* peer) {
  struct io_uring_sqe* sqe = next_sqe();
  peer->pending = operation_receive;
  io_uring_prep_recv(sqe, peer->descriptor, peer->bytes, sizeof(peer->bytes), 0);
  io_uring_sqe_set_data(sqe, peer);
}

static void send_rest(struct connection* peer) {
  struct io_uring_sqe* sqe = next_sqe();
  peer->pending = operation_send;
  io_uring_prep_send(sqe, peer->descriptor, peer->bytes + peer->sent, peer->received - peer->sent,
                     MSG_NOSIGNAL);
  io_uring_sqe_set_data(sqe, peer);
}

static void close_connection(struct connection* peer) {
  close(peer->descriptor);
  free(peer);
  if (!accept_armed) { /* it ended because no descriptor was left */
    arm_accept();
  }
}

static void on_accept(int result, unsigned flags) {
  accept_armed = (flags & IORING_CQE_F_MORE) != 0;
  if (result >= 0) {
    struct connection* peer = malloc(sizeof(*peer));
    if (peer == NULL) {
      echo_die("malloc");
    }
    peer->descriptor = result;
    receive(peer);
  }
  if (!accept_armed && result != -EMFILE && result != -ENFILE) {
    arm_accept();
  }
}

static void on_connection(struct connection* peer, int result) {
  if (result == -EINTR || result == -EAGAIN) {
    result = 0;
  } else if (result < 0 || (result == 0 && peer->pending == operation_receive)) {
    close_connection(peer);
    return;
  } else if (peer->pending == operation_receive) {
    peer->received = (unsigned)result;
    peer->sent = 0;
    send_rest(peer);
    return;
  }
  if (peer->pending == operation_send) {
    peer->sent += (unsigned)result;
    if (peer->sent < peer->received) {
      send_rest(peer);
      return;
    }
  }
  receive(peer);
}

int main(int argc, char** argv) {
  struct io_uring_params parameters;
  int error = 0;

  memset(&parameters, 0, sizeof(parameters));
  parameters.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE;
  parameters.cq_entries = cq_entries;
  error = io_uring_queue_init_params(sq_entries, &ring, &parameters);
  if (error != 0) {
    fprintf(stderr, "io_uring_setup: %s\n", strerror(-error));
    return echo_no_io_uring;
  }
  listener = echo_listen(argc, argv, 0);
  arm_accept();
  for (;;) {
    struct io_uring_cqe* cqe = NULL;
    unsigned head = 0;
    unsigned count = 0;

    io_uring_submit_and_wait(&ring, 1);
    io_uring_for_each_cqe(&ring, head, cqe) {
      struct connection* peer = io_uring_cqe_get_data(cqe);
      if (peer == NULL) {
        on_accept(cqe->res, cqe->flags);
      } else {
        on_connection(peer, cqe->res);
      }
      ++count;
    }
    io_uring_cq_advance(&ring, count);
  }
}
