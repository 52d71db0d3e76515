#include "ring.hpp"

#include <cerrno>
#include <iterator>
#include <memory>
#include <string>
#include <system_error>

#include "../time_left.hpp"

namespace aramid::inline v0::detail {
namespace {

constexpr unsigned smallest_ring = 8;

// Linux 6.15 (IORING_FEAT_NO_IOWAIT, IORING_ENTER_NO_IOWAIT); Debian 12's headers are older.
constexpr unsigned feature_no_iowait = 1U << 17U;
constexpr unsigned enter_no_iowait = 1U << 7U;

// What the sockets and files of this layer need of the kernel; asked for by name, as kernel
// versions say nothing about back-ports and restrictions.
struct needed_opcode {
  io_uring_op code;
  const char* name;
};

constexpr needed_opcode needed_opcodes[] = {
    {IORING_OP_READ, "READ"},         {IORING_OP_WRITE, "WRITE"},
    {IORING_OP_RECV, "RECV"},         {IORING_OP_SEND, "SEND"},
    {IORING_OP_RECVMSG, "RECVMSG"},   {IORING_OP_SENDMSG, "SENDMSG"},
    {IORING_OP_ACCEPT, "ACCEPT"},     {IORING_OP_CONNECT, "CONNECT"},
    {IORING_OP_OPENAT, "OPENAT"},     {IORING_OP_CLOSE, "CLOSE"},
    {IORING_OP_FSYNC, "FSYNC"},       {IORING_OP_STATX, "STATX"},
    {IORING_OP_POLL_ADD, "POLL_ADD"}, {IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL"},
};

const char* advice(int error) {
  switch (error) {
    case EPERM:
    case EACCES:
      return "the kernel refuses it: see kernel.io_uring_disabled and the container's seccomp "
             "profile (Docker's default one "
             "blocks io_uring)";
    case ENOSYS:
      return "this kernel was built without io_uring, or a seccomp profile hides it";
    case ENOMEM:
      return "not even the smallest ring fits: raise RLIMIT_MEMLOCK (ulimit -l)";
    case EMFILE:
    case ENFILE:
      return "no descriptor is left for the ring: raise RLIMIT_NOFILE (ulimit -n)";
    default:
      return "this kernel's io_uring is too old (Linux 5.19 has what is needed)";
  }
}

[[noreturn]] void refuse(const std::string& what, int error) {
  throw std::system_error(error, std::system_category(), "aramid: " + what + ": " + advice(error));
}

}  // namespace

ring::ring(ring_sizes sizes) {
  for (;;) {
    io_uring_params params{};
    // COOP_TASKRUN: a completion does not interrupt us; TASKRUN_FLAG: but says that it is there.
    // Without the two a request costs 10–25% more. Not SINGLE_ISSUER or DEFER_TASKRUN: they forbid
    // peers to help, and measured the same (DESIGN §5). SUBMIT_ALL: one bad entry does not hold up
    // the rest.
    params.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
                   IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
    params.cq_entries = sizes.completions;
    const int error = -io_uring_queue_init_params(sizes.submissions, &ring_, &params);
    if (error == 0) {
      break;
    }
    // Rings count against RLIMIT_MEMLOCK again since 6.14 (liburing#1408).
    if (error != ENOMEM || sizes.submissions <= smallest_ring) {
      refuse("io_uring_setup", error);
    }
    sizes.submissions /= 2;
    sizes.completions /= 2;
  }
  try {
    check_features(ring_.features);
    // A sandbox may let a ring be made and not be entered.
    if (const int error = -enter(0, 0); error > 0) {
      refuse("io_uring_enter", error);
    }
  } catch (...) {
    io_uring_queue_exit(&ring_);
    throw;
  }
  if ((ring_.features & feature_no_iowait) != 0) {
    sleep_flags_ = enter_no_iowait;
  }
  cap_kernel_threads();
  // A child after fork would share the queues with us (eio#801). If this fails, it does.
  (void)io_uring_ring_dontfork(&ring_);
  // Entry i of the index array is entry i of the queue, for good.
  for (unsigned i = 0; i < ring_.sq.ring_entries; ++i) {
    ring_.sq.array[i] = i;
  }
  tail_ = *ring_.sq.ktail;
}

ring::~ring() { io_uring_queue_exit(&ring_); }

void ring::check_features(unsigned features) const {
  // NODROP: no completion is lost when the queue is full. EXT_ARG: waits with a timeout. FAST_POLL:
  // a socket that is not ready takes no kernel thread.
  constexpr unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_FAST_POLL;
  if ((features & needed) != needed) {
    refuse("io_uring_setup: features are missing", EOPNOTSUPP);
  }
  const std::unique_ptr<io_uring_probe, decltype(&io_uring_free_probe)> probe(
      io_uring_get_probe_ring(const_cast<io_uring*>(&ring_)), &io_uring_free_probe);
  if (probe == nullptr) {
    refuse("io_uring_register: it does not say what it can do", EOPNOTSUPP);
  }
  for (const needed_opcode& opcode : needed_opcodes) {
    if (io_uring_opcode_supported(probe.get(), opcode.code) == 0) {
      refuse(std::string("io_uring_setup: IORING_OP_") + opcode.name + " is missing", EOPNOTSUPP);
    }
  }
}

void ring::cap_kernel_threads() noexcept {
  // io-wq takes a thread for each blocking operation up to four per CPU for files, and without a
  // limit for the rest (liburing#1466, man io_uring_register). The cap holds for every worker that
  // submits to this ring. A kernel that does not know the call is not capped.
  unsigned limits[2] = {16, 32};
  (void)io_uring_register_iowq_max_workers(&ring_, limits);
}

int ring::enter(unsigned count, unsigned completions, time_point deadline) noexcept {
  // GETEVENTS also makes the kernel put what it kept for want of room into the queue.
  unsigned flags = completions != 0 || count == 0 || has_overflow() ? sleep_flags_ | IORING_ENTER_GETEVENTS : 0;
  if (completions == 0 || deadline == time_point::max()) {
    return io_uring_enter2(static_cast<unsigned>(ring_.ring_fd), count, completions, flags, nullptr,
                           0);
  }
  const timespec left = time_left(deadline);
  __kernel_timespec timeout{};
  timeout.tv_sec = left.tv_sec;
  timeout.tv_nsec = left.tv_nsec;
  io_uring_getevents_arg argument{};
  argument.ts = reinterpret_cast<std::uintptr_t>(&timeout);
  flags |= IORING_ENTER_EXT_ARG;
  return io_uring_enter2(static_cast<unsigned>(ring_.ring_fd), count, completions, flags,
                         reinterpret_cast<sigset_t*>(&argument), sizeof argument);
}

int ring::cancel_now(std::uint64_t user_data) noexcept {
  io_uring_sync_cancel_reg request{};
  request.addr = user_data;
  request.fd = -1;
  // timeout zero: only a request that a kernel thread is executing would be waited for.
  return io_uring_register(static_cast<unsigned>(ring_.ring_fd), IORING_REGISTER_SYNC_CANCEL,
                           &request, 1);
}

}  // namespace aramid::inline v0::detail
