// How an operation is said to io_uring.
#pragma once

#include <liburing.h>

#include "../operation.hpp"
#include "lent_buffers.hpp"

namespace aramid::inline v0::detail {

/// Fills a cleared entry, all but user_data. Never sets IOSQE_ASYNC: a kernel thread per operation
/// is the kernel's last resort and not our first (liburing#1466).
inline void encode(const operation& op, io_uring_sqe& sqe) noexcept {
  sqe.fd = op.fd;
  sqe.addr = reinterpret_cast<std::uintptr_t>(op.address);
  sqe.len = op.length;
  sqe.off = op.offset;
  switch (op.kind) {
    case op_kind::read:
      sqe.opcode = IORING_OP_READ;
      break;
    case op_kind::write:
      sqe.opcode = IORING_OP_WRITE;
      break;
    case op_kind::receive:
      sqe.opcode = IORING_OP_RECV;
      sqe.msg_flags = op.flags;
      break;
    case op_kind::receive_lent:
      sqe.opcode = IORING_OP_RECV;
      sqe.msg_flags = op.flags;
      sqe.flags = IOSQE_BUFFER_SELECT;
      sqe.buf_group = lent_buffers::group;
      break;
    case op_kind::send:
      sqe.opcode = IORING_OP_SEND;
      sqe.msg_flags = op.flags;
      break;
    case op_kind::receive_message:
      sqe.opcode = IORING_OP_RECVMSG;
      sqe.msg_flags = op.flags;
      break;
    case op_kind::send_message:
      sqe.opcode = IORING_OP_SENDMSG;
      sqe.msg_flags = op.flags;
      break;
    case op_kind::accept:
      sqe.opcode = IORING_OP_ACCEPT;
      sqe.accept_flags = op.flags;
      break;
    case op_kind::connect:
      sqe.opcode = IORING_OP_CONNECT;
      sqe.off = op.length;
      sqe.len = 0;
      break;
    case op_kind::open:
      sqe.opcode = IORING_OP_OPENAT;
      sqe.open_flags = op.flags;
      sqe.len = op.mode;
      break;
    case op_kind::close:
      sqe.opcode = IORING_OP_CLOSE;
      break;
    case op_kind::sync:
      sqe.opcode = IORING_OP_FSYNC;
      sqe.fsync_flags = (op.flags & data_only) != 0 ? IORING_FSYNC_DATASYNC : 0;
      break;
    case op_kind::stat:
      sqe.opcode = IORING_OP_STATX;
      sqe.off = sqe.addr;
      sqe.addr = reinterpret_cast<std::uintptr_t>("");
      sqe.statx_flags = op.flags;
      break;
    case op_kind::poll:
      sqe.opcode = IORING_OP_POLL_ADD;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
      sqe.poll32_events = op.flags << 16 | op.flags >> 16;
#else
      sqe.poll32_events = op.flags;
#endif
      break;
  }
}

}  // namespace aramid::inline v0::detail
