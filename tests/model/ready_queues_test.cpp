// ready_queues.hpp at capacity 2: nothing lost, nothing doubled, every hand-over ordered, growth included.
#include "ready_queues.hpp"

#include "queue_items.hpp"
#include "torn_atomics.hpp"

namespace {

using namespace model;

using queues = aramid::detail::ready_queues<item, atomics, 2>;

void drain(queues& q) {
  while (use(q.take_next()) || use(q.pop_woken()) || use(q.pop_newest_fresh())) {
  }
}

// The owner pushes and pops past the end of the array; a thief takes what it can.
void pop_against_steal() {
  item_set<3> items;
  queues owned, other;
  parallel(
      [&] {
        owned.push_woken(items.prepared(0));
        owned.push_woken(items.prepared(1));
        use(owned.pop_woken());
        owned.push_woken(items.prepared(2));  // into the slot of the first
        use(owned.pop_woken());
      },
      [&] { use(owned.steal(other)); });
  drain(owned);
  drain(other);
  items.expect_all_used();
}

// A thief's batch is stolen from in turn.
void a_batch_that_moves_on() {
  item_set<3> items;
  queues owned, second, third;
  for (std::size_t i = 0; i != 3; ++i) owned.push_woken(items.prepared(i));  // grows
  parallel(
      [&] {
        use(owned.steal(second));
        use(second.pop_woken());
      },
      [&] { use(second.steal(third)); });
  drain(owned);
  drain(second);
  drain(third);
  items.expect_all_used();
}

// The array grows while a thief is about.
void growth_against_steal() {
  item_set<4> items;
  queues owned, other;
  owned.push_woken(items.prepared(0));
  owned.push_woken(items.prepared(1));
  parallel(
      [&] {
        use(owned.pop_woken());
        owned.push_woken(items.prepared(2));
        owned.push_woken(items.prepared(3));  // grows
      },
      [&] {
        use(owned.steal(other));
        use(owned.steal(other));
      });
  drain(owned);
  drain(other);
  items.expect_all_used();
}

// Fresh ones leave at both ends. The owner comes back to places that it has popped from, with other items.
void newest_against_oldest() {
  item_set<3> items;
  queues owned, other;
  parallel(
      [&] {
        owned.push_fresh(items.prepared(0));
        owned.push_fresh(items.prepared(1));
        use(owned.pop_newest_fresh());
        owned.push_fresh(items.prepared(2));
        use(owned.pop_oldest_fresh());
      },
      [&] {
        use(owned.steal(other));
        use(owned.steal(other));
      });
  drain(owned);
  items.expect_all_used();
}

// The fight for the last fresh one.
void one_for_two_thieves() {
  item_set<1> items;
  queues owned, second, third;
  parallel(
      [&] {
        owned.push_fresh(items.prepared(0));
        use(owned.pop_newest_fresh());
      },
      [&] { use(owned.steal(second)); }, [&] { use(owned.steal(third)); });
  drain(owned);
  items.expect_all_used();
}

// The slot: the owner puts, displaces and takes; a peer takes what it saw.
void put_take_and_steal() {
  item_set<3> items;
  queues owned;
  const auto steal = [&] {
    item* const seen = owned.peek_next();
    if (seen != nullptr && owned.steal_next(seen)) seen->use();
  };
  parallel(
      [&] {
        use(owned.put_next(items.prepared(0)));
        use(owned.put_next(items.prepared(1)));
        use(owned.take_next());
        use(owned.put_next(items.prepared(2)));
      },
      steal);
  drain(owned);
  items.expect_all_used();
}

// An item comes back: what was seen is there again, which is as good as still.
void the_same_item_again() {
  item one;
  queues owned;
  one.prepare();
  bool stolen = false;
  parallel(
      [&] {
        owned.put_next(&one);
        if (item* back = owned.take_next()) {
          back->use();
          back->prepare();
          owned.put_next(back);
        }
      },
      [&] {
        item* const seen = owned.peek_next();
        if (seen != nullptr && owned.steal_next(seen)) {
          seen->use();
          stolen = true;
        }
      });
  if (!stolen) use(owned.take_next());
  MODEL_ASSERT(one.used());
}

const std::vector<scenario> scenarios{
    {"pop against steal", &pop_against_steal, 3},
    {"put, take and steal", &put_take_and_steal, 2},
    {"the same item again", &the_same_item_again, 2},
    {"one for two thieves", &one_for_two_thieves, 2},
    {"a batch that moves on", &a_batch_that_moves_on, 2},
    {"newest against oldest", &newest_against_oldest, 2},
    {"growth against steal", &growth_against_steal, 2},
};

TEST(ready_queues, lose_and_double_nothing) {
  for (const scenario& s : scenarios) expect_holds(s);
}

// Load buffering is what push's acquire and the release of a take are there for: they keep a thief's reads of slots
// in front of the owner's next store to them.
TEST(ready_queues, lose_and_double_nothing_on_a_machine_that_loads_late) {
  expect_holds_with_the_weakest_orders(scenarios, {"runtime/src"}, {}, {.load_buffering = true});
}

}  // namespace
