// Textbook algorithms whose right and wrong versions are known, as a check on the explorer: it must pass the right ones
// and find the wrong ones.
#include "litmus.hpp"

using namespace model;

namespace {

template <class T>
using cell = model::atomic<T>;

// ---- mutual exclusion by loads and stores -------------------------------------------------------------------------------

void expect_exclusion(
    bool holds,
    const std::function<void(cell<int>&, cell<int>&, cell<int>&, int, model::plain<int>&)>& visit) {
  const result r = explore({.preemptions = 3}, [&] {
    cell<int> flag0{0}, flag1{0}, turn{0};
    flag0.named("flag0"), flag1.named("flag1"), turn.named("turn");
    model::plain<int> inside{0};
    parallel([&] { visit(flag0, flag1, turn, 0, inside); },
             [&] { visit(flag1, flag0, turn, 1, inside); });
    MODEL_ASSERT(inside.read() == 2);
  });
  EXPECT_EQ(r.failed, !holds) << r.report();
  EXPECT_EQ(r.complete, holds);
}

// Peterson, "Myths about the mutual exclusion problem" (1981).
auto peterson(bool fence, std::memory_order store_flag, std::memory_order access) {
  return
      [=](cell<int>& mine, cell<int>& other, cell<int>& turn, int me, model::plain<int>& inside) {
        mine.store(1, store_flag);
        turn.store(1 - me, access == relaxed ? release : access);
        if (fence) atomics::fence(seq_cst);
        while (other.load(access == relaxed ? acquire : access) == 1 &&
               turn.load(access == relaxed ? acquire : access) == 1 - me)
          atomics::pause();
        inside.write(inside.read() + 1);
        mine.store(0, release);
      };
}

TEST(textbook, peterson_with_seq_cst_holds) {
  expect_exclusion(true, peterson(false, seq_cst, seq_cst));
}
TEST(textbook, peterson_with_release_and_acquire_breaks) {
  expect_exclusion(false, peterson(false, release, relaxed));
}

// A fence after the stores is enough against store buffering, but the two stores to turn race: with plain release stores one
// thread may put its store to turn *behind* the other's. An exchange, which reads the newest, does not.
TEST(textbook, peterson_with_a_fence_needs_an_exchange_on_turn) {
  const auto visit = [](bool fence, bool exchange) {
    return
        [=](cell<int>& mine, cell<int>& other, cell<int>& turn, int me, model::plain<int>& inside) {
          mine.store(1, relaxed);
          if (exchange)
            turn.exchange(1 - me, acq_rel);
          else
            turn.store(1 - me, release);
          if (fence) atomics::fence(seq_cst);
          while (other.load(acquire) == 1 && turn.load(acquire) == 1 - me) atomics::pause();
          inside.write(inside.read() + 1);
          mine.store(0, release);
        };
  };
  expect_exclusion(true, visit(true, true));
  expect_exclusion(
      true, visit(false,
                  true));  // the two exchanges synchronise: the second thread sees the first's flag
  expect_exclusion(false, visit(false, false));
}

// Dekker's entry without the turn-taking loop: whoever sees the other's flag gives up.
TEST(textbook, dekker_entry_needs_its_fence) {
  const auto visit = [](bool fence) {
    return [=](cell<int>& mine, cell<int>& other, cell<int>&, int, model::plain<int>& inside) {
      mine.store(1, relaxed);
      if (fence) atomics::fence(seq_cst);
      while (other.load(acquire) == 1) {  // back off, and try again
        mine.store(0, release);
        atomics::pause();
        mine.store(1, relaxed);
        if (fence) atomics::fence(seq_cst);
      }
      inside.write(inside.read() + 1);
      mine.store(0, release);
    };
  };
  // Two threads may back off for ever in step (that is why Dekker has a turn), so only the broken one is judged.
  const result r = explore({.preemptions = 2, .max_steps = 60}, [&] {
    cell<int> a{0}, b{0}, turn{0};
    model::plain<int> inside{0};
    parallel([&] { visit(false)(a, b, turn, 0, inside); },
             [&] { visit(false)(b, a, turn, 1, inside); });
  });
  EXPECT_NE(r.failure.find("data race"), std::string::npos) << r.report();
}

TEST(textbook, dekker_try_entry) {
  const auto both_in = [](std::memory_order fence) {
    return explore({.preemptions = 100}, [=] {
      cell<int> a{0}, b{0};
      model::plain<int> inside{0};
      const auto visit = [&](cell<int>& mine, cell<int>& other) {
        mine.store(1, relaxed);
        atomics::fence(fence);
        if (other.load(relaxed) == 0) inside.write(inside.read() + 1);
      };
      parallel([&] { visit(a, b); }, [&] { visit(b, a); });
    });
  };
  EXPECT_FALSE(both_in(seq_cst).failed) << both_in(seq_cst).report();
  EXPECT_TRUE(both_in(acq_rel).failed);
  EXPECT_TRUE(both_in(relaxed).failed);
}

// ---- Treiber's stack, and ABA -------------------------------------------------------------------------------------------

// Nodes are recycled by index, as a free list does; `Tagged` counts the pops in the head's upper half.
template <bool Tagged>
class treiber_stack {
public:
  static constexpr std::uint32_t none = 0xff;

  void push(std::uint32_t node) {
    std::uint32_t head = head_.load(relaxed);
    do {
      next_[node].store(head & 0xff, relaxed);
    } while (!head_.compare_exchange_strong(head, tag(head) | node, release, relaxed));
  }
  std::uint32_t pop() {
    std::uint32_t head = head_.load(acquire);
    while ((head & 0xff) != none) {
      const std::uint32_t next = next_[head & 0xff].load(relaxed);
      if (head_.compare_exchange_strong(head, (tag(head) + (Tagged ? 0x100 : 0)) | next, acquire,
                                        acquire))
        return head & 0xff;
    }
    return none;
  }

private:
  static std::uint32_t tag(std::uint32_t head) { return head & ~0xffU; }
  cell<std::uint32_t> head_{none};
  std::array<cell<std::uint32_t>, 3> next_;
};

template <bool Tagged>
result pop_while_another_recycles() {
  return explore({.preemptions = 2}, [] {
    treiber_stack<Tagged> stack;
    std::array<model::plain<int>, 3> owned;
    for (std::uint32_t node : {2U, 1U, 0U}) stack.push(node);
    const auto take = [&](std::uint32_t node) {  // two owners of a node race here
      if (node != stack.none) owned[node].write(owned[node].read() + 1);
    };
    parallel([&] { take(stack.pop()); },
             [&] {
               const std::uint32_t first = stack.pop();
               const std::uint32_t second = stack.pop();
               take(second);
               if (first != stack.none) stack.push(first);
               take(stack.pop());
             });
    for (const auto& node : owned) MODEL_ASSERT(node.read() <= 1);
  });
}

TEST(textbook, treiber_stack_suffers_from_aba) {
  const result r = pop_while_another_recycles<false>();
  EXPECT_TRUE(r.failed) << r.report();
}

TEST(textbook, tagged_treiber_stack_does_not) {
  const result r = pop_while_another_recycles<true>();
  EXPECT_FALSE(r.failed) << r.report();
  EXPECT_TRUE(r.complete);
}

// ---- Chase-Lev, from the paper, with its fences --------------------------------------------------------------------------

// Lê, Pop, Cohen, Zappa Nardelli, PPoPP 2013, figure 1, at a fixed capacity. `Drop` leaves out one fence or order.
enum class drop { nothing, push_release, take_fence, steal_fence, take_cas };

template <drop Drop>
class chase_lev {
public:
  void push(int item) {
    const int bottom = bottom_.load(relaxed);
    (void)top_.load(acquire);
    slots_[static_cast<std::size_t>(bottom) % slots_.size()].store(item, relaxed);
    if (Drop != drop::push_release) atomics::fence(release);
    bottom_.store(bottom + 1, relaxed);
  }
  int take() {
    const int bottom = bottom_.load(relaxed) - 1;
    bottom_.store(bottom, relaxed);
    if (Drop != drop::take_fence) atomics::fence(seq_cst);
    int top = top_.load(relaxed);
    if (top > bottom) {
      bottom_.store(bottom + 1, relaxed);
      return 0;
    }
    int item = slots_[static_cast<std::size_t>(bottom) % slots_.size()].load(relaxed);
    if (top == bottom) {
      if (Drop != drop::take_cas && !top_.compare_exchange_strong(top, top + 1, seq_cst, relaxed))
        item = 0;
      bottom_.store(bottom + 1, relaxed);
    }
    return item;
  }
  int steal() {
    int top = top_.load(acquire);
    if (Drop != drop::steal_fence) atomics::fence(seq_cst);
    const int bottom = bottom_.load(acquire);
    if (top >= bottom) return 0;
    const int item = slots_[static_cast<std::size_t>(top) % slots_.size()].load(relaxed);
    return top_.compare_exchange_strong(top, top + 1, seq_cst, relaxed) ? item : 0;
  }

private:
  cell<int> top_{0}, bottom_{0};
  std::array<cell<int>, 4> slots_;
};

template <drop Drop>
result chase_lev_run() {
  return explore({.preemptions = 2}, [] {
    chase_lev<Drop> deque;
    std::array<int, 4> taken{};  // by thread 1; and what the thieves got
    std::array<int, 2> stolen{};
    std::array<model::plain<int>, 4> payload;
    const auto use = [&](int item) {
      if (item != 0) MODEL_ASSERT(payload[static_cast<std::size_t>(item)].read() == item);
    };
    parallel(
        [&] {
          payload[1].write(1), deque.push(1);
          payload[2].write(2), deque.push(2);
          taken[0] = deque.take();
          taken[1] = deque.take();
        },
        [&] { use(stolen[0] = deque.steal()); }, [&] { use(stolen[1] = deque.steal()); });
    taken[2] = deque.take();
    taken[3] = deque.take();
    std::array<int, 3> count{};
    for (int item : taken) ++count[static_cast<std::size_t>(item)];
    for (int item : stolen) ++count[static_cast<std::size_t>(item)];
    MODEL_ASSERT(count[1] == 1);
    MODEL_ASSERT(count[2] == 1);
  });
}

TEST(textbook, chase_lev_holds) {
  const result r = chase_lev_run<drop::nothing>();
  EXPECT_FALSE(r.failed) << r.report();
  EXPECT_TRUE(r.complete);
  RecordProperty("figures", r.report());
}

TEST(textbook, chase_lev_without_any_of_its_fences_breaks) {
  EXPECT_TRUE(chase_lev_run<drop::push_release>().failed);
  EXPECT_TRUE(chase_lev_run<drop::take_fence>().failed);
  EXPECT_TRUE(chase_lev_run<drop::steal_fence>().failed);
  EXPECT_TRUE(chase_lev_run<drop::take_cas>().failed);
}

}  // namespace
