// The waiters of a lock that competes with whoever comes by: what runtime/src/barging.hpp and detail/wait_queue.hpp do, with a
// queue of numbers and a claim that is one exchange.
#pragma once

#include "litmus.hpp"

namespace model {

template <int Threads, int Waits, int Patience>
class modelled_waiters {
public:
  struct waiter {
    model::atomic<bool> claimed{false};
    model::plain<int> losses{0};
    model::plain<bool> is_reader{false};
    model::plain<bool> is_served{false};
    model::plain<bool> cancelled{false};
    model::event woken;
  };

  model::mutex lock;

  [[nodiscard]] bool empty() { return size_.read() == 0; }
  waiter& operator[](int which) { return nodes_[which]; }

  /// Under the lock: whether the first one is a reader, if there is any.
  bool reader_in_front() { return !empty() && nodes_[queue_[0].read()].is_reader.read(); }

  /// Under the lock: takes out readers, or those that are none, from the front until one can be claimed; -1 if none can.
  int claim_front(bool readers = false) {
    while (!empty() && reader_in_front() == readers) {
      const int first = queue_[0].read();
      remove(first);
      if (!nodes_[first].claimed.exchange(true, acq_rel)) return first;
    }
    return -1;
  }

  [[nodiscard]] bool lost_too_often(int which) { return nodes_[which].losses.read() >= Patience; }
  void deliver(int which) { nodes_[which].woken.signal(); }

  /// Returns false if the wait was cancelled; `left()` is then called under the lock, which it gives up.
  template <class Take, class TakeOrWait, class Left>
  bool take_or_park(int me, Take take, TakeOrWait take_or_wait, Left left, bool is_reader = false) {
    bool competed = false;
    for (int losses = 0; !take(competed); ++losses) {
      const int waited = waits_[me].read();
      MODEL_ASSERT(waited < Waits);
      waits_[me].write(waited + 1);
      const int node = me * Waits + waited;
      lock.lock();
      const bool got = take_or_wait(competed);
      if (!got) push(node, losses, competed, is_reader);
      lock.unlock();
      if (got) return true;
      nodes_[node].woken.wait();
      if (nodes_[node].cancelled.read()) {
        lock.lock();
        remove(node);
        left();
        return false;
      }
      if (nodes_[node].is_served.read()) return true;
      competed = true;
    }
    return true;
  }

  /// Ends the first wait of `who`, if it can still be won.
  void cancel(int who) {
    waiter& victim = nodes_[who * Waits];
    if (victim.claimed.exchange(true, acq_rel)) return;
    victim.cancelled.write(true);
    victim.woken.signal();
  }

private:
  void push(int which, int losses, bool in_front, bool is_reader) {
    nodes_[which].losses.write(losses);
    nodes_[which].is_reader.write(is_reader);
    const int size = size_.read();
    if (in_front) {
      for (int i = size; i > 0; --i) queue_[i].write(queue_[i - 1].read());
    }
    queue_[in_front ? 0 : size].write(which);
    size_.write(size + 1);
  }

  void remove(int which) {
    const int size = size_.read();
    int kept = 0;
    for (int i = 0; i < size; ++i) {
      const int other = queue_[i].read();
      if (other != which) queue_[kept++].write(other);
    }
    size_.write(kept);
  }

  model::plain<int> size_{0};
  model::plain<int> queue_[Threads];
  model::plain<int> waits_[Threads];
  waiter nodes_[Threads * Waits];
};

}  // namespace model
