// shared_mutex_word.hpp: a writer is alone, readers wait for no reader, no wake is lost to barging or to a waiter that leaves, and
// nothing is touched after the last owner.
#include <aramid/detail/shared_mutex_word.hpp>

#include "litmus.hpp"
#include "modelled_waiters.hpp"
#include "torn_atomics.hpp"

namespace {

using namespace model;

constexpr int threads = 3;
constexpr int waits = 4;  // of one thread, in one scenario

enum class twin {
  none,
  lets_nobody_in,  // a writer that gives up leaves the readers behind it to wait for those that are in
  trusts,          // a reader that found itself alone does not look again under the lock
};

/// What runtime/src/shared_mutex.cpp does.
template <class Atomics, int Patience>
class modelled_shared_mutex {
public:
  explicit modelled_shared_mutex(twin which = twin::none) : twin_(which) {}

  /// Both return false if the wait was cancelled.
  bool lock(int me) {
    return word_.lock_free() || waiters_.take_or_park(
                                    me, [&](bool competed) { return word_.take(competed); },
                                    [&](bool competed) { return word_.take_or_wait(competed); }, [&] { left(); });
  }
  bool lock_shared(int me) {
    return waiters_.take_or_park(
        me, [&](bool) { return word_.share(); }, [&](bool) { return word_.share_or_wait(); }, [&] { left(); }, true);
  }

  void unlock() {
    std::uint32_t state = 0;
    if (word_.unlock_free(state)) return;
    claimed next;
    while (next.count == 0) {
      if (word_.unlock_unless_waiting(state)) return;
      waiters_.lock.lock();
      next = claim_in_front();
      if (next.count == 0)
        state = word_.nobody_waits();
      else if (next.writer < 0)
        word_.make_way(static_cast<std::uint32_t>(next.count), !waiters_.empty());
      else
        word_.settle(!waiters_.empty(), !next.is_served);
      waiters_.lock.unlock();
    }
    if (next.writer >= 0 && !next.is_served) word_.let_go();
    deliver_all(next);
  }

  void unlock_shared() {
    while (!word_.unshare()) {
      claimed next;
      waiters_.lock.lock();
      if (twin_ != twin::trusts && !word_.is_only_reader()) {
        waiters_.lock.unlock();
        continue;
      }
      next = claim_in_front();
      if (next.count == 0)
        word_.nobody_waits();
      else if (next.writer < 0)
        word_.admit(static_cast<std::uint32_t>(next.count), !waiters_.empty());
      else
        word_.settle_shared(!waiters_.empty(), !next.is_served);
      waiters_.lock.unlock();
      if (next.writer >= 0 && !next.is_served) word_.let_go_shared();
      deliver_all(next);
      if (next.writer >= 0) return;
    }
  }

  void cancel(int who) { waiters_.cancel(who); }

private:
  struct claimed {
    int nodes[threads];
    int count = 0;
    int writer = -1;
    bool is_served = false;
  };

  claimed claim_readers() {
    claimed all;
    for (int next = waiters_.claim_front(true); next >= 0; next = waiters_.claim_front(true)) {
      waiters_[next].is_served.write(true);
      all.nodes[all.count++] = next;
    }
    return all;
  }

  claimed claim_in_front() {
    claimed next;
    while (next.count == 0 && !waiters_.empty()) {
      next = claim_readers();
      if (next.count == 0) next.writer = waiters_.claim_front(false);
      if (next.writer >= 0) {
        next.is_served = waiters_.lost_too_often(next.writer);
        waiters_[next.writer].is_served.write(next.is_served);
        next.nodes[next.count++] = next.writer;
      }
    }
    return next;
  }

  void deliver_all(const claimed& all) {
    for (int i = 0; i < all.count; ++i) waiters_.deliver(all.nodes[i]);
  }

  // Under the lock, which it gives up.
  void left() {
    claimed next;
    bool joined = false;
    if (waiters_.empty()) {
      word_.nobody_waits();
    } else if (twin_ != twin::lets_nobody_in && waiters_.reader_in_front() && word_.join()) {
      joined = true;
      next = claim_readers();
      word_.admit(static_cast<std::uint32_t>(next.count), !waiters_.empty());
    }
    waiters_.lock.unlock();
    deliver_all(next);
    if (joined) unlock_shared();
  }

  const twin twin_;
  aramid::detail::shared_mutex_word<Atomics> word_;
  modelled_waiters<threads, waits, Patience> waiters_;
};

// Counts under the lock. The count is no atomic: the lock has to order it.
template <class Atomics = atomics, int Patience = 1>
struct counted {
  explicit counted(twin which = twin::none) : lock(which) {}

  modelled_shared_mutex<Atomics, Patience> lock;
  model::plain<int> count{0};

  void write(int me) {
    if (!lock.lock(me)) return;
    count.write(count.read() + 1);
    lock.unlock();
  }
  void read(int me) {
    if (!lock.lock_shared(me)) return;
    (void)count.read();
    lock.unlock_shared();
  }
};

template <class Atomics = atomics>
void one_of_each() {
  counted<Atomics> all;
  parallel([&] { all.write(0); }, [&] { all.read(1); });
  MODEL_ASSERT(all.count.read() == 1);
}

void two_writers() {
  counted<> all;
  parallel([&] { all.write(0); }, [&] { all.write(1); });
  MODEL_ASSERT(all.count.read() == 2);
}

template <class Atomics = atomics>
void two_writers_and_a_reader() {
  counted<Atomics> all;
  parallel([&] { all.write(0); }, [&] { all.write(1); }, [&] { all.read(2); });
  MODEL_ASSERT(all.count.read() == 2);
}

template <class Atomics = atomics, int Patience = 1>
void two_readers_and_a_writer() {
  counted<Atomics, Patience> all;
  parallel([&] { all.read(0); }, [&] { all.read(1); }, [&] { all.write(2); });
  MODEL_ASSERT(all.count.read() == 1);
}

template <int Patience>
void a_writer_comes_back() {
  counted<atomics, Patience> all;
  parallel(
      [&] {
        all.write(0);
        all.write(0);
        all.read(0);
      },
      [&] { all.write(1); });
  MODEL_ASSERT(all.count.read() == 3);
}

template <int Patience>
void a_reader_comes_back() {
  counted<atomics, Patience> all;
  parallel(
      [&] {
        all.read(0);
        all.read(0);
        all.read(0);
      },
      [&] { all.write(1); });
  MODEL_ASSERT(all.count.read() == 1);
}

// A writer gives up between readers, of whom the first stays in until the second has been in.
void a_writer_gives_up(twin which) {
  counted<> all(which);
  model::event second_has_been_in;
  parallel(
      [&] {
        MODEL_ASSERT(all.lock.lock_shared(0));
        all.lock.cancel(1);
        second_has_been_in.wait();
        all.lock.unlock_shared();
      },
      [&] {
        // Not before the first reader, or that one would never come to cancel it.
        if (all.lock.lock(1)) all.lock.unlock();
      },
      [&] {
        MODEL_ASSERT(all.lock.lock_shared(2));
        second_has_been_in.signal();
        all.lock.unlock_shared();
      });
}

// The rest of that: whoever joins readers, to let others in, comes after the writer that made way for them.
void one_joins() {
  aramid::detail::shared_mutex_word<atomics> word;
  model::plain<int> count{0};
  MODEL_ASSERT(word.lock_free());
  parallel(
      [&] {
        count.write(1);
        word.make_way(1, false);
      },
      [&] {
        if (word.join()) (void)count.read();
      });
}

// A writer gives up while all the others go about their business.
void a_writer_leaves() {
  counted<> all;
  parallel([&] { all.write(0); },
           [&] { all.write(1); },
           [&] {
             all.lock.cancel(1);
             all.read(2);
           });
}

void a_reader_leaves() {
  counted<> all;
  parallel([&] { all.write(0); },
           [&] { all.read(1); },
           [&] {
             all.lock.cancel(1);
             all.write(2);
           });
}

// A reader finds that it is the last and a writer waits. Before it looks at the queue that writer has given up and come back to read, and another
// writer has queued.
void a_reader_joins_meanwhile(twin which) {
  counted<> all(which);
  parallel([&] { all.read(0); },
           [&] {
             if (all.lock.lock(1))
               all.lock.unlock();
             else
               all.read(1);
           },
           [&] {
             all.lock.cancel(1);
             all.write(2);
           });
}

// Whoever is last destroys it.
void the_last_destroys(bool readers) {
  struct shared {
    modelled_shared_mutex<atomics, 1> lock;
    model::plain<int> writes{2};
    model::atomic<int> reads{2};
  };
  auto* const object = new shared;
  const auto write = [&](int me) {
    object->lock.lock(me);
    const int left = object->writes.read() - 1;
    object->writes.write(left);
    object->lock.unlock();
    if (left == 0) delete object;
  };
  if (!readers) return parallel([&] { write(0); }, [&] { write(1); });
  // A reader leaves; a writer that comes after it destroys.
  model::plain<bool> destroyed{false};
  parallel(
      [&] {
        object->lock.lock_shared(0);
        object->reads.store(1, release);
        object->lock.unlock_shared();
      },
      [&] {
        object->lock.lock(1);
        const bool last = object->reads.load(acquire) == 1;
        object->lock.unlock();
        if (!last) return;
        delete object;
        destroyed.write(true);
      });
  if (!destroyed.read()) delete object;
}

const std::vector<scenario> scenarios{
    {"one joins", &one_joins, 4},
    {"one of each", &one_of_each<>, 4},
    {"two writers", &two_writers, 4},
    {"a writer comes back, patient", &a_writer_comes_back<3>, 3},
    {"a writer comes back, handed over", &a_writer_comes_back<1>, 3},
    {"a reader comes back, patient", &a_reader_comes_back<3>, 3},
    {"a reader comes back, handed over", &a_reader_comes_back<1>, 3},
    {"the last writer destroys", [] { the_last_destroys(false); }, 3},
    {"the last reader destroys", [] { the_last_destroys(true); }, 3},
    {"a writer leaves", &a_writer_leaves, 2},
    {"a writer gives up", [] { a_writer_gives_up(twin::none); }, 2},
    {"a reader leaves", &a_reader_leaves, 2},
    {"a reader joins meanwhile", [] { a_reader_joins_meanwhile(twin::none); }, 2},
    {"two writers and a reader", &two_writers_and_a_reader<>, 2},
    {"two readers and a writer", &two_readers_and_a_writer<>, 2},
    {"two readers and a writer that is handed the lock at once", &two_readers_and_a_writer<atomics, 0>, 2},
};

TEST(shared_mutex_word, a_writer_is_alone_and_no_wake_is_lost) {
  expect_holds_with_the_weakest_orders(scenarios, {"detail/shared_mutex_word"});
}

TEST(shared_mutex_word, a_writer_that_gives_up_must_let_readers_in) {
  expect_caught([] { a_writer_gives_up(twin::lets_nobody_in); }, "deadlock");
}

TEST(shared_mutex_word, the_last_reader_must_look_again_under_the_lock) {
  expect_caught([] { a_reader_joins_meanwhile(twin::trusts); });
}

TEST(shared_mutex_word, its_moves_must_be_one_step) {
  expect_caught(&one_of_each<torn_atomics<torn::strong>>);
  expect_caught(&two_readers_and_a_writer<torn_atomics<torn::weak>>);
}

}  // namespace
