// run_ring.hpp at capacity 2: nothing lost, nothing doubled, every hand-over ordered, growth included.
#include "run_ring.hpp"

#include "queue_items.hpp"

namespace {

using namespace model;

using ring = aramid::detail::run_ring<item, atomics, 2>;

void drain(ring& r) {
  while (use(r.pop())) {
  }
}

// The owner pushes and pops past the end of the array; a thief takes one.
void pop_against_steal() {
  item_set<3> items;
  ring owned, other;
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
void two_thieves() {
  item_set<3> items;
  ring owned, second, third;
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
  ring owned, other;
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
    {"pop against steal", &pop_against_steal, 2},
    {"two thieves", &two_thieves, 2},
    {"growth against steal", &growth_against_steal, 2},
};

TEST(run_ring, loses_and_doubles_nothing) {
  for (const scenario& s : scenarios) {
    for (bool lb : {false, true}) {
    const result r = explore({.name = s.name, .preemptions = 3, .memory = {.load_buffering = lb}}, s.body);
    EXPECT_FALSE(r.failed) << r.report();
    EXPECT_TRUE(r.complete);
    std::puts(r.report().c_str());
    }
  }
}

TEST(run_ring, every_weakened_order_is_caught) {
  const weakening_report report = weaken_each({.memory = {.load_buffering = true}}, "runtime/src", scenarios);
  EXPECT_EQ(report.sound, "");
  EXPECT_EQ(report.survivors(), (std::vector<std::string>{}));
  std::puts(report.text().c_str());
}

}  // namespace
