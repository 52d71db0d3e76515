// slab_walk.hpp: whoever walks over the slabs of a pool meets fibers that live and nothing else, whatever slabs are added and whatever
// memory is given back meanwhile. With the product's fiber_life in every block.
#include "slab_walk.hpp"

#include "fiber_life.hpp"
#include "litmus.hpp"

namespace {

using namespace model;

/// What a broken twin does otherwise.
struct twin {
  bool spares_walkers = true;     // R1
  bool walker_needs_life = true;  // W2
};

/// As detail/spin_lock.hpp; free where memory reads as zero. An unlock is the kernel's zero too, hence an exchange: that zero comes
/// behind whatever was there.
class lock_word {
public:
  void lock() {
    while (locked_.exchange(true, acquire)) model::atomics::pause();
  }
  void unlock() { locked_.exchange(false, release); }
  [[nodiscard]] bool is_free() const { return !locked_.load(acquire); }

private:
  model::atomic<bool> locked_{false};
};

/// A slab has one block here.
struct slab {
  using life = aramid::detail::fiber_life<atomics, lock_word>;

  slab* older = nullptr;
  aramid::detail::returned_mark<atomics> to_revive;
  bool is_free = false;  // under the pool's lock

  life in;
  model::plain<int> core{0};       // whose fiber it is; written before its birth
  model::plain<int> observers{0};  // under the lock of `in`
};

class pool {
public:
  explicit pool(twin which) : twin_(which) {}

  // fiber_control::announce_end and retire: nobody holds it but the runtime
  void end(slab& of) {
    of.in.lock();
    of.observers.write(of.observers.read() + 1);
    of.in.end(false);
    of.in.unlock();
    of.in.clear();
    of.observers.write(0);
  }

  // return_controls
  void take_back(slab& of) {
    lock_.lock();
    const bool returned = !twin_.spares_walkers || !slabs_.goes_on();
    if (!returned) of.is_free = true;
    lock_.unlock();
    if (!returned) return;
    // The kernel writes zeros: into the lock, and into what nobody may be looking at.
    of.in.clear();
    of.in.unlock();
    of.core.write(0);
    of.observers.write(0);
    lock_.lock();
    of.to_revive.set();
    of.is_free = true;
    lock_.unlock();
  }

  // refill_controls, and a birth
  void take(slab& of, int core) {
    lock_.lock();
    MODEL_ASSERT(of.is_free);
    of.is_free = false;
    if (of.to_revive.is_set()) {
      of.observers.write(0);  // fiber_control::revive
      of.to_revive.clear();
    }
    lock_.unlock();
    of.core.write(core);
    of.in.begin();
  }

  // add_slab
  void add(slab& made) {
    lock_.lock();
    made.is_free = true;
    slabs_.add(made);
    lock_.unlock();
  }

  // for_each_control and cancel_all. Returns how many fibers of `core` there are.
  int walk(int core) {
    int found = 0;
    slabs_.walk(lock_, [&](slab& each) {
      if (each.to_revive.is_set()) return;
      if (twin_.walker_needs_life && !each.in.is_alive()) return;
      each.in.lock();
      if ((!twin_.walker_needs_life || each.in.is_alive()) && each.core.read() == core) {
        each.observers.write(each.observers.read() + 1);
        ++found;
      }
      each.in.unlock();
    });
    return found;
  }

private:
  const twin twin_;
  model::mutex lock_;
  aramid::detail::slab_walk<slab, atomics> slabs_;
};

// A fiber ends, its slab's memory goes and comes back, and another fiber lives there, which somebody else looks at too.
void return_against_walk(twin which, int walks) {
  pool p(which);
  slab only;
  model::event born;
  p.add(only);
  p.take(only, 1);
  parallel(
      [&] {
        p.end(only);
        p.take_back(only);
        p.take(only, 2);
        born.signal();
        only.in.lock();
        only.observers.write(only.observers.read() + 1);
        only.in.unlock();
      },
      [&] {
        for (int i = 0; i != walks; ++i) p.walk(1);
      },
      [&] {
        born.wait();
        only.in.lock();
        only.observers.write(only.observers.read() + 1);
        only.in.unlock();
      });
  MODEL_ASSERT(only.observers.read() == 2);
  // What was born before a walk is found by it.
  MODEL_ASSERT(p.walk(2) == 1);
}

// A slab is added, and a fiber born in it.
void add_against_walk() {
  pool p({});
  slab first;
  slab* second = nullptr;
  p.add(first);
  p.take(first, 1);
  int found = 0;
  parallel(
      [&] {
        second = new slab;
        p.add(*second);
        p.take(*second, 1);
        p.end(*second);
        p.take_back(*second);
      },
      [&] { found = p.walk(1); });
  MODEL_ASSERT(found >= 1);
  delete second;
}

const std::vector<scenario> scenarios{
    {"return against walk", [] { return_against_walk({}, 1); }, 3},
    {"return against two walks", [] { return_against_walk({}, 2); }, 2},
    {"add against walk", &add_against_walk, 4},
};

TEST(slab_walk, walkers_meet_the_living) {
  expect_holds_with_the_weakest_orders(scenarios, {"slab_walk.hpp"});
}

TEST(slab_walk, no_memory_goes_under_a_walker) {
  expect_caught([] { return_against_walk({.spares_walkers = false}, 1); }, "data race");
}

TEST(slab_walk, a_walker_believes_nothing_of_what_is_dead) {
  expect_caught([] { return_against_walk({.walker_needs_life = false}, 1); }, "data race");
}

}  // namespace
