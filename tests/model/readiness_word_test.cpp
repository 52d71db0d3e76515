// readiness_word.hpp: what arrives at a descriptor reaches a fiber that waits for it, with a kernel that tells of changes only.
#include "io/src/epoll/readiness_word.hpp"

#include <array>

#include "litmus.hpp"

namespace {

using namespace model;

/// What a broken twin does otherwise.
struct twin {
  bool heeds_the_tick = true;       // R3
  bool reads_before_trying = true;  // R1 before R2
  bool looks_before_waiting = true; // R4
};

constexpr std::uint32_t in = 1;

/// Without R3's look at the tick.
template <class Atomics>
struct deaf_word : aramid::detail::readiness_word<Atomics> {
  using base = aramid::detail::readiness_word<Atomics>;
  void clear(std::uint32_t, std::uint32_t events) noexcept { base::clear(base::read(), events); }
};

/// A socket and its place in an interest list; the kernel's locks order what is done to it.
struct socket {
  void arrive() {
    kernel.lock();
    ++items;
    ++edges;
    kernel.unlock();
    edge.signal();
  }
  bool take() {
    kernel.lock();
    const bool there = items != 0;
    if (there) --items;
    kernel.unlock();
    return there;
  }
  bool take_edges() {
    kernel.lock();
    const bool there = edges != 0;
    edges = 0;  // those that come before one is told are told as one
    kernel.unlock();
    return there;
  }
  model::mutex kernel;
  int items = 0;
  int edges = 0;
  model::event edge;
};

/// One descriptor, the fibers that read from it, and who polls for them. An execution passes when they have read all that was sent.
template <class Word>
class system {
public:
  system(twin which, int items) : twin_(which), wanted_(items) {}

  void send() { socket_.arrive(); }

  // epoll_driver::poll and apply
  void poll(int times) {
    for (int i = 0; i != times; ++i) {
      socket_.edge.wait();
      if (!socket_.take_edges()) continue;
      lock_.lock();
      word_.tell(in);
      for (std::size_t fiber = 0; fiber != waits_.size(); ++fiber) {
        if (waits_[fiber]) {
          waits_[fiber] = false;
          told_[fiber].signal();
        }
      }
      lock_.unlock();
    }
  }

  // perform.cpp's try_when_ready, epoll_driver::attempt and submit
  void read(std::size_t fiber, int items) {
    while (items != 0) {
      std::uint32_t seen = word_.read();
      if (!twin_.reads_before_trying || Word::has(seen, in)) {
        if (socket_.take()) {
          --items;
          done();
          continue;
        }
        if (!twin_.reads_before_trying) seen = word_.read();
        word_.clear(seen, in);
      }
      lock_.lock();
      const bool wait = !twin_.looks_before_waiting || !Word::has(word_.read(), in);
      waits_[fiber] = wait;
      lock_.unlock();
      if (wait) told_[fiber].wait();
    }
  }

private:
  void done() {
    count_.lock();
    const bool last = --wanted_ == 0;
    count_.unlock();
    if (last) pass();
  }

  const twin twin_;
  socket socket_;
  Word word_;
  model::mutex lock_;
  std::array<bool, 2> waits_{};
  std::array<model::event, 2> told_;
  model::mutex count_;
  int wanted_;
};

using word = aramid::detail::readiness_word<atomics>;

template <class Word = word>
void one_reader(twin which) {
  system<Word> all(which, 2);
  parallel([&] { all.read(0, 2); }, [&] { all.send(), all.send(); }, [&] { all.poll(2); });
}

// The owner polls and a peer helps.
template <class Word = word>
void two_pollers(twin which) {
  system<Word> all(which, 2);
  parallel([&] { all.read(0, 2); }, [&] { all.send(), all.send(); }, [&] { all.poll(1); }, [&] { all.poll(1); });
}

template <class Word = word>
void two_readers(twin which) {
  system<Word> all(which, 2);
  parallel([&] { all.read(0, 1); }, [&] { all.read(1, 1); }, [&] { all.send(), all.send(); }, [&] { all.poll(2); });
}

const std::vector<scenario> scenarios{
    {"one reader", [] { one_reader({}); }, 4},
    {"two pollers", [] { two_pollers({}); }, 3},
    {"two readers", [] { two_readers({}); }, 3},
};

// Both survivors order the word against the descriptor's own state, which lies behind the kernel's locks; that these order it too is an accident
// of the model, in which a lock is passed by everybody at once.
TEST(readiness_word, no_change_is_missed) {
  expect_holds_with_the_weakest_orders(scenarios, {"io/src/epoll"},
                                       {"read: load(acquire) -> relaxed", "tell: cas(release) -> relaxed"});
}

TEST(readiness_word, no_change_is_missed_by_a_machine_that_loads_late) {
  for (const scenario& s : scenarios) expect_holds({s.name, s.body, s.preemptions - 1}, {.load_buffering = true});
}

TEST(readiness_word, every_step_is_needed) {
  expect_caught([] { one_reader<deaf_word<atomics>>({}); }, "deadlock");
  expect_caught([] { one_reader({.reads_before_trying = false}); }, "deadlock");
  expect_caught([] { one_reader({.looks_before_waiting = false}); }, "deadlock");
}

}  // namespace
