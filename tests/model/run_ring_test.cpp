// run_ring.hpp at capacity 2: nothing lost, nothing doubled, every hand-over ordered, growth included.
#include "run_ring.hpp"

#include "queue_items.hpp"
#include "torn_atomics.hpp"

namespace {

using namespace model;

template <class Atomics = atomics>
using ring = aramid::detail::run_ring<item, Atomics, 2>;

template <class Ring>
void drain(Ring& r) {
  while (use(r.pop())) {
  }
}

// The owner pushes and pops past the end of the array; a thief takes one.
template <class Atomics = atomics>
void pop_against_steal() {
  item_set<3> items;
  ring<Atomics> owned, other;
  parallel(
      [&] {
        owned.push(items.prepared(0));
        owned.push(items.prepared(1));
        use(owned.pop());
        owned.push(items.prepared(2));  // into the slot of the first
        use(owned.pop());
      },
      [&] { use(owned.steal(other)); });
  drain(owned);
  drain(other);
  items.expect_all_used();
}

// Two thieves, one of which gets a batch and is stolen from in turn.
template <class Atomics = atomics>
void two_thieves() {
  item_set<3> items;
  ring<Atomics> owned, second, third;
  parallel(
      [&] {
        for (std::size_t i = 0; i != 3; ++i) owned.push(items.prepared(i));  // grows
      },
      [&] {
        use(owned.steal(second));
        use(second.pop());
      },
      [&] {
        if (!use(second.steal(third))) use(owned.steal(third));
      });
  drain(owned);
  drain(second);
  drain(third);
  items.expect_all_used();
}

// The array grows while a thief reads it.
void growth_against_steal() {
  item_set<4> items;
  ring<> owned, other;
  owned.push(items.prepared(0));
  owned.push(items.prepared(1));
  parallel(
      [&] {
        use(owned.pop());
        owned.push(items.prepared(2));
        owned.push(items.prepared(3));  // grows
      },
      [&] {
        use(owned.steal(other));
        use(owned.steal(other));
      });
  drain(owned);
  drain(other);
  items.expect_all_used();
}

const std::vector<scenario> scenarios{
    {"pop against steal", &pop_against_steal<>, 3},
    {"two thieves", &two_thieves<>, 3},
    {"growth against steal", &growth_against_steal, 3},
};

TEST(run_ring, loses_and_doubles_nothing) {
  for (const scenario& s : scenarios) {
    expect_holds(s);
    expect_holds(s, {.load_buffering = true});
  }
}

// Load buffering is what push's acquire and the releasing CAS of a thief are there for: they keep a thief's reads of slots
// in front of the owner's next store to them.
TEST(run_ring, every_weakened_order_is_caught) {
  expect_caught_but(
      {
          // top: a stale one only makes the CAS fail, and nothing is read through it.
          "steal: load(acquire) #1 -> relaxed",
          // top again: a stale one copies items that are gone; the push that follows acquires.
          "grow: load(acquire) -> relaxed",
      },
      scenarios, {.load_buffering = true});
}

TEST(run_ring, a_take_must_be_one_step) {
  expect_caught(&pop_against_steal<torn_atomics<torn::weak>>);
  expect_caught(&pop_against_steal<torn_atomics<torn::strong>>);
  expect_caught(&two_thieves<torn_atomics<torn::strong>>);
}

}  // namespace
