// lifo_slot.hpp: every item that was put has exactly one taker, who sees what its producer wrote.
#include "lifo_slot.hpp"

#include "queue_items.hpp"
#include "torn_atomics.hpp"

namespace {

using namespace model;

// The owner puts three, takes what it can; two peers steal what they saw.
template <class Atomics = atomics>
void put_take_and_steal() {
  item_set<3> items;
  aramid::detail::lifo_slot<item, Atomics> slot;
  const auto steal = [&] {
    item* const seen = slot.peek();
    if (seen != nullptr && slot.steal(seen)) seen->use();
  };
  parallel(
      [&] {
        use(slot.put(items.prepared(0)));
        use(slot.put(items.prepared(1)));
        use(slot.take());
        use(slot.put(items.prepared(2)));
      },
      steal, steal);
  use(slot.take());
  items.expect_all_used();
}

// An item comes back: what was seen is there again, which is as good as still.
void the_same_item_again() {
  item one;
  aramid::detail::lifo_slot<item, atomics> slot;
  one.prepare();
  bool stolen = false;
  parallel(
      [&] {
        slot.put(&one);
        if (item* back = slot.take()) {
          back->use();
          back->prepare();
          slot.put(back);
        }
      },
      [&] {
        item* const seen = slot.peek();
        if (seen != nullptr && slot.steal(seen)) {
          seen->use();
          stolen = true;
        }
      });
  if (!stolen) use(slot.take());
  MODEL_ASSERT(one.used());
}

const std::vector<scenario> scenarios{
    {"put, take and steal", &put_take_and_steal<>, 5},
    {"the same item again", &the_same_item_again, 5},
};

TEST(lifo_slot, every_item_has_one_taker) {
  for (const scenario& s : scenarios) {
    expect_holds(s);
    expect_holds(s, {.load_buffering = true});
  }
}

TEST(lifo_slot, every_weakened_order_is_caught) {
  expect_caught_but(
      {
          // What the owner finds in its slot it has put there itself: it has nothing to acquire.
          "put: rmw(acq_rel) -> release",
          "take: rmw(acquire) -> relaxed",
      },
      scenarios, {.load_buffering = true});
}

TEST(lifo_slot, its_moves_must_be_one_step) {
  expect_caught(&put_take_and_steal<torn_atomics<torn::strong>>);
  expect_caught(&put_take_and_steal<torn_atomics<torn::exchange>>);
}

}  // namespace
