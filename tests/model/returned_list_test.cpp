// returned_list.hpp: every slot that peers give back comes to the owner once, with what was written to it.
#include "io/src/uring/returned_list.hpp"

#include <array>

#include "litmus.hpp"

namespace {

using namespace model;
using list = aramid::detail::returned_list<atomics>;

/// A broken twin: takes what it has read.
struct takes_without_an_exchange : list {
  std::uint32_t take_all() noexcept {
    const std::uint32_t head = seen.load();
    seen.store(none);
    return head;
  }
  template <class Link>
  void push(std::uint32_t index, Link&& link) noexcept {
    std::uint32_t head = seen.load();
    do link(head);
    while (!seen.compare_exchange_weak(head, index));
  }
  model::atomic<std::uint32_t> seen{none};
};

struct slot {
  plain<std::uint32_t> next{list::none};
  plain<int> generation{0};
};

/// An execution passes when the owner has had every slot.
template <class List>
class system {
public:
  // slot_table::take of a peer
  void give_back(std::uint32_t index) {
    slot& mine = slots_[index];
    mine.generation.write(mine.generation.read() + 1);
    list_.push(index, [&](std::uint32_t next) { mine.next.write(next); });
    there_.signal();
  }

  // slot_table::refill and acquire
  void take(int wanted) {
    for (;;) {
      for (std::uint32_t index = list_.take_all(); index != list::none; index = slots_[index].next.read()) {
        MODEL_ASSERT(slots_[index].generation.read() == 1);
        slots_[index].generation.write(2);  // the next life
        if (--wanted == 0) pass();
      }
      there_.wait();
    }
  }

private:
  std::array<slot, 3> slots_;
  List list_;
  model::event there_;
};

template <class List = list>
void one_peer() {
  system<List> all;
  parallel([&] { all.take(2); }, [&] { all.give_back(0), all.give_back(1); });
}

void two_peers() {
  system<list> all;
  parallel([&] { all.take(3); }, [&] { all.give_back(0), all.give_back(1); }, [&] { all.give_back(2); });
}

const std::vector<scenario> scenarios{
    {"one peer", one_peer<>, 4},
    {"two peers", two_peers, 3},
};

TEST(returned_list, no_slot_is_lost_or_doubled) { expect_holds_with_the_weakest_orders(scenarios, {"io/src/uring/returned_list"}); }

TEST(returned_list, no_slot_is_lost_by_a_machine_that_loads_late) {
  for (const scenario& s : scenarios) expect_holds({s.name, s.body, s.preemptions - 1}, {.load_buffering = true});
}

TEST(returned_list, every_step_is_needed) {
  expect_caught([] { one_peer<takes_without_an_exchange>(); });
}

}  // namespace
