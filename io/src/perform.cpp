// Steps 1–3 and 5–8 of operation.hpp: the fiber's side; and how an operation is done on each kind of driver (io_driver.hpp).
#include "perform.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>

#include <aramid/blocking.hpp>
#include <aramid/cancel.hpp>
#include <aramid/detail/deadline.hpp>
#include <aramid/driver.hpp>

#include "blocking_call.hpp"
#include "descriptor.hpp"
#include "driver_select.hpp"
#include "io_driver.hpp"

namespace aramid::inline v0::detail {
namespace {

// The usual way of an operation is inlined into `perform`, and what is rare is kept out of it: a fiber that waits has one small frame here,
// and who wakes it finds few lines to bring into the cache.

using namespace std::chrono_literals;

constexpr clock::duration first_patience = 10ms;
constexpr clock::duration last_patience = 1s;

struct outcome {
  std::int32_t result;
  wake_reason reason;
};

/// Steps 6 and 7. On return the operation is done.
__attribute__((noinline)) void take_back(operation& op, const char* who) noexcept {
  for (clock::duration patience = first_patience; !op.is_done();
       patience = std::min(2 * patience, last_patience)) {
    parker wait(cancellable::no, {who});
    if (!op.expect_instead(wait.token())) {
      (void)wait.abandon();
      return;
    }
    // The fiber may have migrated since it submitted. The drivers exist, so this cannot throw.
    const caller from = current_io_driver() == op.home ? caller::owner : caller::peer;
    op.home->cancel(op, from);
    wait.park_until(deadline_in(patience));
  }
}

/// One submission, steps 1–8.
__attribute__((always_inline)) inline outcome perform_once(io_driver& driver, operation& op, const char* who, cancellable may_cancel,
                                                           time_point deadline) {
  parker wait(may_cancel, {who});
  const park_token token = wait.token();
  op.expect(token);
  if (op.user != nullptr && !op.user->watch(token)) {
    (void)wait.abandon();
    return {-ECANCELED, wake_reason::notified};
  }
  driver.submit(op);
  const wake_reason reason =
      deadline == time_point::max() ? wait.park() : wait.park_until(deadline);
  if (ARAMID_UNLIKELY(!op.is_done())) {
    take_back(op, who);
    // An io-wq worker that was interrupted for the cancel says -EINTR (man io_uring_cancelation).
    if (op.result == -ECANCELED || op.result == -EINTR) {
      return {-ECANCELED, reason};
    }
  }
  return {op.result, wake_reason::notified};
}

__attribute__((noinline)) outcome perform_again(operation& op, const char* who, cancellable may_cancel, time_point deadline) {
  return perform_once(*current_io_driver(), op, who, may_cancel, deadline);
}

/// A descriptor that is O_NONBLOCK, so somebody else's: the kernel has said -EAGAIN instead of waiting (liburing#364).
__attribute__((noinline)) outcome wait_until_ready(operation& op, const char* who, cancellable may_cancel, time_point deadline) {
  operation ready(op_kind::poll, op.fd);
  ready.flags = op.events();
  ready.user = op.user;
  return perform_again(ready, who, may_cancel, deadline);
}

/// The rest of `complete`, when `what` says to do it once more.
__attribute__((noinline)) outcome complete_again(outcome what, operation& op, const char* who, cancellable may_cancel, time_point deadline) {
  while (what.result == -EINTR || what.result == -EAGAIN) {
    if (op.kind == op_kind::close) {
      break;  // the number is given back, and may be somebody else's by now (man close)
    }
    if (what.result == -EAGAIN) {
      if (op.user == nullptr) {
        break;
      }
      what = wait_until_ready(op, who, may_cancel, deadline);
      if (what.result < 0) {
        continue;
      }
    }
    what = perform_again(op, who, may_cancel, deadline);
  }
  return what;
}

/// A driver of the kind `completion`. Until it is not -EINTR (liburing#744).
__attribute__((always_inline)) inline outcome complete(io_driver& driver, operation& op, const char* who, cancellable may_cancel,
                                                       time_point deadline) {
  const outcome what = perform_once(driver, op, who, may_cancel, deadline);
  return ARAMID_LIKELY(what.result != -EINTR && what.result != -EAGAIN) ? what : complete_again(what, op, who, may_cancel, deadline);
}

/// On a thread that may block. What has begun comes to its end.
outcome call_on_a_thread(const operation& op) {
  blocking_call call(op);
  offload(call, offload_to::files);
  return {call.result(), wake_reason::notified};
}

/// A driver of the kind `readiness`.
__attribute__((noinline)) outcome try_when_ready(readiness_driver* driver, operation& op, const char* who, cancellable may_cancel,
                                                 time_point deadline) {
  if (always_blocks(op)) {
    driver->count_call();
    return call_on_a_thread(op);
  }
  for (;;) {
    const std::int32_t result = driver->attempt(op);
    if (ARAMID_UNLIKELY(result == readiness_driver::needs_thread)) {
      return call_on_a_thread(op);
    }
    if (result != -EAGAIN && result != -EINTR) {
      count_ready();
      return {result, wake_reason::notified};
    }
    const outcome what = perform_once(*driver, op, who, may_cancel, deadline);
    driver = static_cast<readiness_driver*>(current_io_driver());
    if (what.reason != wake_reason::notified && op.kind == op_kind::connect) {
      // Bytes and connections that wait to be accepted stay where they are. One that has come about meanwhile would be lost.
      if (const std::int32_t last = driver->attempt(op); last != -EAGAIN) {
        return {last, wake_reason::notified};
      }
    }
    if (what.result != -EAGAIN || what.reason != wake_reason::notified) {
      return what;
    }
  }
}

__attribute__((always_inline)) inline outcome perform_here(io_driver* driver, operation& op, const char* who, cancellable may_cancel,
                                                           time_point deadline) {
  return ARAMID_LIKELY(driver->style == io_style::completion)
             ? complete(*driver, op, who, may_cancel, deadline)
             : try_when_ready(static_cast<readiness_driver*>(driver), op, who, may_cancel, deadline);
}

__attribute__((noinline)) std::int32_t perform_there(operation& op, const runtime_ref& home, const char* who, time_point deadline) {
  std::int32_t result = -ECANCELED;
  bool finished = false;
  try {
    home.call(who, [&] {
      result = perform(op, home, who, deadline);
      finished = true;
    });
  } catch (const cancelled&) {
    // A deadline of the calling thread that came too late loses nothing (law 2).
    if (!finished) {
      throw;
    }
  }
  return result;
}

}  // namespace

std::int32_t perform(operation& op, const runtime_ref& home, const char* who, time_point deadline) {
  io_driver* const driver = enter_io();
  if (ARAMID_UNLIKELY(driver == nullptr)) {
    return perform_there(op, home, who, deadline);
  }
  const outcome what = perform_here(driver, op, who, cancellable::yes, deadline);
  if (ARAMID_UNLIKELY(what.reason != wake_reason::notified)) {
    if (what.reason == wake_reason::cancelled) {
      throw_cancelled();
    }
    return -ETIME;
  }
  return what.result;
}

std::int32_t perform_shielded(operation& op) noexcept {
  const shield from_cancellation;
  try {
    if (io_driver* const driver = current_io_driver()) {
      return perform_here(driver, op, "close", cancellable::no, time_point::max()).result;
    }
  } catch (const std::exception&) {  // no driver: the caller has another way
  }
  return -ENOTSUP;
}

}  // namespace aramid::inline v0::detail
