// spawn_deque.hpp at capacity 2: nothing lost, nothing doubled, every hand-over ordered, growth included.
#include "spawn_deque.hpp"

#include "queue_items.hpp"
#include "torn_atomics.hpp"

namespace {

using namespace model;

template <class Atomics = atomics>
using deque = aramid::detail::spawn_deque<item, Atomics, 2>;

template <class Deque>
void drain(Deque& d) {
  while (use(d.pop_newest())) {
  }
}

// The fight for the last items.
template <class Atomics = atomics>
void pop_against_two_thieves() {
  item_set<2> items;
  deque<Atomics> d;
  parallel(
      [&] {
        d.push(items.prepared(0));
        d.push(items.prepared(1));
        use(d.pop_newest());
        use(d.pop_newest());
      },
      [&] { use(d.take_oldest()); }, [&] { use(d.take_oldest()); });
  drain(d);
  items.expect_all_used();
}

// The owner comes back to places it has popped from, with other items.
void push_after_pop() {
  item_set<3> items;
  deque<> d;
  parallel(
      [&] {
        d.push(items.prepared(0));
        use(d.pop_newest());
        d.push(items.prepared(1));
        use(d.pop_newest());
        d.push(items.prepared(2));
      },
      [&] {
        use(d.take_oldest());
        use(d.take_oldest());
      });
  drain(d);
  items.expect_all_used();
}

// Round the array: the slot of a stolen item is used again, and the array grows.
void growth_against_thief() {
  item_set<4> items;
  deque<> d;
  d.push(items.prepared(0));
  d.push(items.prepared(1));
  parallel(
      [&] {
        d.push(items.prepared(2));  // grows unless one was stolen
        d.push(items.prepared(3));
        use(d.pop_newest());
      },
      [&] {
        use(d.take_oldest());
        use(d.take_oldest());
      });
  drain(d);
  items.expect_all_used();
}

// Every so often the owner takes the oldest itself.
void owner_takes_oldest() {
  item_set<3> items;
  deque<> d;
  parallel(
      [&] {
        d.push(items.prepared(0));
        d.push(items.prepared(1));
        use(d.take_oldest());
        d.push(items.prepared(2));
        use(d.pop_newest());
      },
      [&] { use(d.take_oldest()); });
  drain(d);
  items.expect_all_used();
}

const std::vector<scenario> scenarios{
    {"pop against two thieves", &pop_against_two_thieves<>, 3},
    {"push after pop", &push_after_pop, 3},
    {"growth against thief", &growth_against_thief, 3},
    {"owner takes oldest", &owner_takes_oldest, 3},
};

TEST(spawn_deque, loses_and_doubles_nothing) {
  for (const scenario& s : scenarios) {
    expect_holds(s);
    expect_holds(s, {.load_buffering = true});
  }
}

// Load buffering is what push's acquire and the releasing CAS of a thief are there for: they keep a thief's reads of slots
// in front of the owner's next store to them.
TEST(spawn_deque, every_weakened_order_is_caught) {
  expect_caught_but(
      {
          // top: the seq_cst fence behind the load is an acquire fence too.
          "take_oldest: load(acquire) #1 -> relaxed",
      },
      scenarios, {.load_buffering = true});
}

TEST(spawn_deque, the_claim_of_the_last_item_must_be_one_step) {
  expect_caught(&pop_against_two_thieves<torn_atomics<torn::strong>>);
}

}  // namespace
