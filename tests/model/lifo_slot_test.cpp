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
    {"put, take and steal", &put_take_and_steal<>, 3},
    {"the same item again", &the_same_item_again, 3},
};

TEST(lifo_slot, every_item_has_one_taker) {
  for (const scenario& s : scenarios) {
    const result r = explore({.name = s.name, .preemptions = 5}, s.body);
    EXPECT_FALSE(r.failed) << r.report();
    EXPECT_TRUE(r.complete);
    std::puts(r.report().c_str());
  }
}

TEST(lifo_slot, every_weakened_order_is_caught) {
  const weakening_report report = weaken_each({.memory = {.load_buffering = true}}, "runtime/src", scenarios);
  EXPECT_EQ(report.sound, "");
  EXPECT_EQ(report.survivors(), (std::vector<std::string>{}));
  std::puts(report.text().c_str());
}

TEST(lifo_slot, its_moves_must_be_one_step) {
  EXPECT_TRUE(explore({}, &put_take_and_steal<torn_atomics<torn::strong>>).failed);
  EXPECT_TRUE(explore({}, &put_take_and_steal<torn_atomics<torn::exchange>>).failed);
}

}  // namespace
