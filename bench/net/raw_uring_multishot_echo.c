/* Floor: as raw_uring_echo, but with one multishot receive for each connection and a ring of
 * provided buffers.
 *
 * A receive completes again and again without being submitted again, each time with a buffer of the
 * ring; that buffer is sent as it is and goes back when it is sent. Buffers that arrive while a
 * send is out wait their turn in the connection's queue, since two sends at once could overtake one
 * another. Without a free buffer receives end with ENOBUFS; those connections wait in a list until
 * a buffer comes back. */
#define _GNU_SOURCE
#include "echo_server.h"

#include <liburing.h>
#include <stdbool.h>
#include <sys/mman.h>

enum {
  sq_entries = 1024,
  cq_entries = 8 * sq_entries,
  buffers = 4096,
  buffer_bytes = 4096,
  buffer_group = 1
};
enum { none = -1 };

/* The low bits of user_data; a connection is aligned, and 0 is the listener. */
enum operation { operation_receive, operation_send, operation_mask = 1 };

struct connection {
  struct connection* next_starved;
  int descriptor;
  int queue_head; /* buffers to send, the first of which is being sent; none if empty */
  int queue_tail;
  unsigned sent; /* bytes of the first that have gone out */
  bool receiving;
  bool ended; /* nothing more to receive: close when nothing is pending */
};

static struct io_uring ring;
static struct io_uring_buf_ring* free_buffers;
static char* memory;
static int next_in_queue[buffers];
static unsigned length_of[buffers];
static unsigned returned; /* buffers added to the ring since it was last published */
static struct connection* starved;
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
  io_uring_sqe_set_data64(sqe, 0);
  accept_armed = true;
}

static void arm_receive(struct connection* peer) {
  struct io_uring_sqe* sqe = next_sqe();
  io_uring_prep_recv_multishot(sqe, peer->descriptor, NULL, 0, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = buffer_group;
  io_uring_sqe_set_data64(sqe, (uintptr_t)peer | operation_receive);
  peer->receiving = true;
}

static void send_first(struct connection* peer) {
  const int buffer = peer->queue_head;
  struct io_uring_sqe* sqe = next_sqe();
  io_uring_prep_send(sqe, peer->descriptor, memory + (size_t)buffer * buffer_bytes + peer->sent,
                     length_of[buffer] - peer->sent, MSG_NOSIGNAL);
  io_uring_sqe_set_data64(sqe, (uintptr_t)peer | operation_send);
}

static void give_back(int buffer) {
  io_uring_buf_ring_add(free_buffers, memory + (size_t)buffer * buffer_bytes, buffer_bytes,
                        (unsigned short)buffer, io_uring_buf_ring_mask(buffers), (int)returned++);
}

static void publish_returned(void) {
  if (returned == 0) {
    return;
  }
  io_uring_buf_ring_advance(free_buffers, (int)returned);
  returned = 0;
  while (starved != NULL) {
    struct connection* peer = starved;
    starved = peer->next_starved;
    arm_receive(peer);
  }
}

static void enqueue(struct connection* peer, int buffer) {
  next_in_queue[buffer] = none;
  if (peer->queue_head == none) {
    peer->queue_head = peer->queue_tail = buffer;
    peer->sent = 0;
    send_first(peer);
  } else {
    next_in_queue[peer->queue_tail] = buffer;
    peer->queue_tail = buffer;
  }
}

static void close_if_idle(struct connection* peer) {
  if (!peer->ended || peer->receiving || peer->queue_head != none) {
    return;
  }
  close(peer->descriptor);
  free(peer);
  if (!accept_armed) { /* it ended because no descriptor was left */
    arm_accept();
  }
}

static void on_accept(int result, unsigned flags) {
  accept_armed = (flags & IORING_CQE_F_MORE) != 0;
  if (result >= 0) {
    struct connection* peer = calloc(1, sizeof(*peer));
    if (peer == NULL) {
      echo_die("calloc");
    }
    peer->descriptor = result;
    peer->queue_head = peer->queue_tail = none;
    arm_receive(peer);
  }
  if (!accept_armed && result != -EMFILE && result != -ENFILE) {
    arm_accept();
  }
}

static void on_receive(struct connection* peer, int result, unsigned flags) {
  peer->receiving = (flags & IORING_CQE_F_MORE) != 0;
  if (result > 0) {
    const int buffer = (int)(flags >> IORING_CQE_BUFFER_SHIFT);
    length_of[buffer] = (unsigned)result;
    enqueue(peer, buffer);
  } else if (result == 0 || (result != -ENOBUFS && result != -EINTR && result != -EAGAIN)) {
    peer->ended = true;
  }
  if (peer->ended) {
    close_if_idle(peer);
  } else if (!peer->receiving && result == -ENOBUFS) {
    peer->next_starved = starved;
    starved = peer;
  } else if (!peer->receiving) {
    arm_receive(peer);
  }
}

static void on_send(struct connection* peer, int result) {
  const int buffer = peer->queue_head;
  if (result < 0 && result != -EINTR && result != -EAGAIN) {
    /* The peer is gone; what waits for it is dropped, and the receive will end by itself. */
    shutdown(peer->descriptor, SHUT_RDWR);
    for (int i = buffer; i != none; i = next_in_queue[i]) {
      give_back(i);
    }
    peer->queue_head = none;
  } else {
    peer->sent += result > 0 ? (unsigned)result : 0;
    if (peer->sent < length_of[buffer]) {
      send_first(peer);
      return;
    }
    peer->queue_head = next_in_queue[buffer];
    peer->sent = 0;
    give_back(buffer);
    if (peer->queue_head != none) {
      send_first(peer);
    }
  }
  close_if_idle(peer);
}

static void make_buffers(void) {
  struct io_uring_buf_reg registration;
  const size_t ring_bytes = buffers * sizeof(struct io_uring_buf);
  const int protection = PROT_READ | PROT_WRITE;
  const int flags = MAP_ANONYMOUS | MAP_PRIVATE;
  int error = 0;

  free_buffers = mmap(NULL, ring_bytes, protection, flags, -1, 0);
  memory = mmap(NULL, (size_t)buffers * buffer_bytes, protection, flags, -1, 0);
  if (free_buffers == MAP_FAILED || memory == MAP_FAILED) {
    echo_die("mmap");
  }
  memset(&registration, 0, sizeof(registration));
  registration.ring_addr = (uintptr_t)free_buffers;
  registration.ring_entries = buffers;
  registration.bgid = buffer_group;
  error = io_uring_register_buf_ring(&ring, &registration, 0);
  if (error != 0) {
    fprintf(stderr, "io_uring_register_buf_ring: %s\n", strerror(-error));
    exit(1);
  }
  io_uring_buf_ring_init(free_buffers);
  for (int i = 0; i < buffers; ++i) {
    give_back(i);
  }
  publish_returned();
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
  make_buffers();
  arm_accept();
  for (;;) {
    struct io_uring_cqe* cqe = NULL;
    unsigned head = 0;
    unsigned count = 0;

    io_uring_submit_and_wait(&ring, 1);
    io_uring_for_each_cqe(&ring, head, cqe) {
      const uint64_t data = io_uring_cqe_get_data64(cqe);
      struct connection* peer = (struct connection*)(uintptr_t)(data & ~(uint64_t)operation_mask);
      if (peer == NULL) {
        on_accept(cqe->res, cqe->flags);
      } else if ((data & operation_mask) == operation_send) {
        on_send(peer, cqe->res);
      } else {
        on_receive(peer, cqe->res, cqe->flags);
      }
      ++count;
    }
    io_uring_cq_advance(&ring, count);
    publish_returned();
  }
}
