// shutdown_gate.hpp: `stop` returns when no fiber lives and not before, sleeps not for ever, leaves no fiber uncancelled and no guest
// behind.
#include "shutdown_gate.hpp"

#include <optional>
#include <string_view>

#include "fiber_life.hpp"
#include "litmus.hpp"

namespace {

using namespace model;

/// What a broken twin does otherwise.
struct twin {
  bool ends_before_births = true;    // S3
  bool heeds_refusal = true;         // B1
  bool start_looks = true;           // B3
  bool stop_walks = true;            // S6
  bool queues_as_guest = true;       // G1, G3
};

/// The fences of a twin that has left one out, and its futex.
enum class without { nothing, births_fence, ends_fence, heavy_fences, wake };

template <without What>
struct fences : atomics {
  static void light_fence(call_site s = call_site::here()) noexcept {
    const bool of_end = std::string_view(s.function) == "end_on";
    if (What != (of_end ? without::ends_fence : without::births_fence)) atomics::light_fence(s);
  }
  static void heavy_fence(call_site s = call_site::here()) noexcept {
    if (What != without::heavy_fences) atomics::heavy_fence(s);
  }
};

template <without What>
struct futexes {
  static void wake(const model::atomic<std::uint32_t>& word) {
    if (What != without::wake) futex_wake(&word, 1);
  }
};

/// Where the kernel refuses membarrier.
struct symmetric : atomics {
  static void light_fence(call_site s = call_site::here()) noexcept { fence(std::memory_order_seq_cst, s); }
  static void heavy_fence(call_site s = call_site::here()) noexcept { fence(std::memory_order_seq_cst, s); }
};

/// A control block. Blocks outlive every runtime.
class fiber {
public:
  using life = aramid::detail::fiber_life<model::atomics, model::mutex>;

  /// The body, on whatever thread. Plain: what it does has to have happened before `stop` returns.
  void run() { trace_.write(trace_.read() + 1); }
  /// A wait that nobody ends but a cancellation.
  void wait_for_cancellation() { cancelled_.wait(); }
  /// waiter::request_cancel
  void cancel() { cancelled_.signal(); }
  /// The stopping thread's look at a fiber that must have ended.
  int traces() { return trace_.read(); }

  life in;

private:
  model::event cancelled_;
  model::plain<int> trace_{0};
};

/// How long `stop` leaves the fibers to themselves.
enum class grace { none, for_ever };

/// What worker.cpp, fiber.cpp and runtime_core.cpp make of the protocol: two workers, two fibers.
template <class Atomics = atomics, class Futex = futexes<without::nothing>>
class system {
public:
  static constexpr unsigned workers = 2;
  using gate = aramid::detail::shutdown_gate<Atomics, Futex>;
  using tally = typename gate::tally;

  /// What is gone when `stop` has returned.
  struct core {
    gate at;
    tally tallies[workers];
    model::mutex lock;
    model::plain<fiber*> queued{nullptr};  // under the lock
    model::plain<bool> exiting{false};     // too
    model::event wake;                     // a worker's driver, sticky
  };

  explicit system(twin which) : core_(new core), twin_(which) {}

  gate& inside() { return core_->at; }
  fiber first, second;

  /// Born before all else, and suspended or queued.
  void has(fiber& f) {
    MODEL_ASSERT(core_->at.admit());
    f.in.begin();
  }

  // new_fiber and start_fiber, outside of the workers
  void bear_outside(fiber& f) {
    if (!core_->at.admit() && twin_.heeds_refusal) return;
    start(f);
    queue_from_outside(f);
  }

  // worker::push_fresh
  void bear_on(unsigned worker, fiber& f) {
    start(f);
    core_->tallies[worker].count_birth();
  }

  // runtime_core::make_ready
  void queue_from_outside(fiber& f) {
    std::optional<typename gate::visit> as_guest;
    if (twin_.queues_as_guest) as_guest.emplace(core_->at);
    queue(f);
  }

  void queue(fiber& f) {
    core_->lock.lock();
    core_->queued.write(&f);
    core_->lock.unlock();
    core_->wake.signal();
  }

  // fiber_control::announce_end and worker::count_ended
  void end_on(unsigned worker, fiber& f) {
    f.in.lock();
    f.in.end(false);
    f.in.unlock();
    core_->at.end_on(core_->tallies[worker]);
  }

  // worker::run
  template <class Body>
  void work(unsigned worker, Body body) {
    for (;;) {
      core_->lock.lock();
      fiber* const next = core_->queued.read();
      const bool exiting = core_->exiting.read();
      core_->queued.write(nullptr);
      core_->lock.unlock();
      if (next != nullptr) {
        body(*next);
        end_on(worker, *next);
      } else if (exiting) {
        break;
      } else {
        core_->wake.wait();
      }
    }
    joined_[worker].signal();
  }

  // runtime_core::stop
  void stop(std::initializer_list<unsigned> joins, grace given = grace::none) {
    core_->at.begin_wait();
    (void)wait_until_ended(given);
    core_->at.stop_births();
    if (twin_.stop_walks) {
      walk(first);
      walk(second);
    }
    MODEL_ASSERT(wait_until_ended(grace::for_ever));
    first.traces();
    second.traces();
    core_->lock.lock();
    core_->exiting.write(true);
    core_->lock.unlock();
    core_->wake.signal();
    for (const unsigned worker : joins) joined_[worker].wait();
    core_->at.wait_for_guests();
  }
  // ~runtime_core
  void destroy() { delete core_; }

  void joined(unsigned worker) { joined_[worker].signal(); }

private:
  struct births_first {
    system& of;
    unsigned worker;
    std::uint64_t ended() const {
      of.seen_[worker] = of.core_->tallies[worker].born();
      return of.core_->tallies[worker].ended();
    }
    std::uint64_t born() const { return of.seen_[worker]; }
  };

  bool wait_until_ended(grace given) {
    const auto sleep = [given](const futex_word& word, std::uint32_t value) {
      if (given == grace::none) return false;
      futex_wait(&word, value);
      return true;
    };
    if (!twin_.ends_before_births)
      return core_->at.wait(workers, [&](unsigned i) { return births_first{*this, i}; }, sleep);
    return core_->at.wait(workers, [&](unsigned i) -> const tally& { return core_->tallies[i]; }, sleep);
  }

  // start_fiber
  void start(fiber& f) {
    f.in.begin();
    if (twin_.start_looks && core_->at.stops_births()) f.cancel();
  }

  // runtime_core::cancel_all
  void walk(fiber& f) {
    if (!f.in.is_alive()) return;
    f.in.lock();
    if (f.in.is_alive()) f.cancel();
    f.in.unlock();
  }

  using futex_word = typename gate::futex_word;

  core* const core_;
  const twin twin_;
  std::uint64_t seen_[workers] = {};
  model::event joined_[workers];
};

// Each of two workers ends a fiber while `stop` waits.
template <class Atomics = atomics, class Futex = futexes<without::nothing>>
void two_ends(twin which) {
  system<Atomics, Futex> s(which);
  s.has(s.first);
  s.has(s.second);
  const auto end = [&](unsigned worker, fiber& f) {
    f.run();
    s.end_on(worker, f);
    s.joined(worker);
  };
  parallel([&] { end(0, s.first); }, [&] { end(1, s.second); }, [&] { s.stop({0, 1}, grace::for_ever); });
  s.destroy();
}

// A fiber bears another and ends; another worker takes the child.
template <class Atomics = atomics>
void stolen_child(twin which) {
  system<Atomics> s(which);
  s.has(s.first);
  parallel(
      [&] {
        s.bear_on(0, s.second);
        s.queue(s.second);
        s.first.run();
        s.end_on(0, s.first);
        s.joined(0);
      },
      [&] { s.work(1, [](fiber& f) { f.run(); }); }, [&] { s.stop({0, 1}); });
  s.destroy();
}

// The child waits for what never comes: whoever looks has to cancel it.
template <class Atomics = atomics>
void waiting_child(twin which) {
  system<Atomics> s(which);
  s.has(s.first);
  parallel(
      [&] {
        s.bear_on(0, s.second);
        s.end_on(0, s.first);
        s.second.wait_for_cancellation();
        s.second.run();
        s.end_on(0, s.second);
        s.joined(0);
      },
      [&] { s.stop({0}); });
  s.destroy();
}

// A birth from outside: refused, or cancelled and waited for. Who spawns has to keep the runtime meanwhile.
template <class Atomics = atomics>
void birth_outside(twin which, bool waits = true) {
  system<Atomics> s(which);
  parallel([&] { s.bear_outside(s.first); },
           [&] {
             s.work(0, [waits](fiber& f) {
               if (waits) f.wait_for_cancellation();
               f.run();
             });
           },
           [&] { s.stop({0}); });
  s.destroy();
}

// A birth from outside that fails half way.
template <class Futex = futexes<without::nothing>>
void revoked_birth() {
  system<atomics, Futex> s({});
  parallel(
      [&] {
        if (s.inside().admit()) s.inside().revoke();
      },
      [&] { s.stop({}); });
  s.destroy();
}

// A thread from outside wakes the last fiber. Nobody but `stop` waits for it.
template <class Atomics = atomics>
void guest(twin which) {
  system<Atomics> s(which);
  s.has(s.first);
  parallel([&] { s.queue_from_outside(s.first); }, [&] { s.work(0, [](fiber& f) { f.run(); }); },
           [&] {
             s.stop({0});
             s.destroy();
           });
}

const std::vector<scenario> scenarios{
    {"two ends", [] { two_ends({}); }, 3},
    {"revoked birth", [] { revoked_birth(); }, 4},
    {"waiting child", [] { waiting_child({}); }, 4},
    {"stolen child", [] { stolen_child({}); }, 2},
    {"birth outside", [] { birth_outside({}); }, 2},
    {"short birth outside", [] { birth_outside({}, false); }, 2},
    {"guest", [] { guest({}); }, 2},
};

TEST(shutdown_gate, stop_returns_when_no_fiber_lives) {
  expect_holds_with_the_weakest_orders(scenarios, {"shutdown_gate"});
}

TEST(shutdown_gate, holds_without_membarrier) {
  expect_holds({"two ends", [] { two_ends<symmetric>({}); }, 3});
  expect_holds({"waiting child", [] { waiting_child<symmetric>({}); }, 3});
  expect_holds({"birth outside", [] { birth_outside<symmetric>({}); }, 2});
}

TEST(shutdown_gate, ends_are_read_before_births) {
  expect_caught([] { stolen_child({.ends_before_births = false}); }, "data race");
}

TEST(shutdown_gate, a_refused_birth_is_none) {
  expect_caught([] { birth_outside({.heeds_refusal = false}); });
}

TEST(shutdown_gate, both_sides_look_for_fibers_to_cancel) {
  expect_caught([] { waiting_child({.start_looks = false}); }, "deadlock");
  expect_caught([] { waiting_child({.stop_walks = false}); }, "deadlock");
}

TEST(shutdown_gate, guests_are_waited_for) {
  expect_caught([] { guest({.queues_as_guest = false}); });
}

TEST(shutdown_gate, every_fence_and_wake_is_needed) {
  expect_caught([] { two_ends<fences<without::ends_fence>>({}); }, "deadlock");
  expect_caught([] { two_ends<fences<without::heavy_fences>>({}); }, "deadlock");
  expect_caught([] { waiting_child<fences<without::births_fence>>({}); }, "deadlock");
  expect_caught([] { waiting_child<fences<without::heavy_fences>>({}); }, "deadlock");
  // B1 alone: the fiber is not missed by the walk, but it is not counted.
  expect_caught([] { birth_outside<fences<without::births_fence>>({}, false); }, "data race");
  expect_caught([] { two_ends<atomics, futexes<without::wake>>({}); }, "deadlock");
  expect_caught([] { revoked_birth<futexes<without::wake>>(); }, "deadlock");
}

}  // namespace
