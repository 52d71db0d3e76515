// steal_lock.hpp: the owner and its thieves are never inside together, and each sees what the one before has done.
#include "steal_lock.hpp"

#include "litmus.hpp"
#include "torn_atomics.hpp"

namespace {

using namespace model;

/// The fences of a twin that has left one out.
enum class without { nothing, light_fence, heavy_fence };

template <without Fence>
struct fences : atomics {
  static void light_fence(call_site s = call_site::here()) noexcept {
    if (Fence != without::light_fence) atomics::light_fence(s);
  }
  static void free_fence(call_site s = call_site::here()) noexcept { light_fence(s); }
  static void heavy_fence(call_site s = call_site::here()) noexcept {
    if (Fence != without::heavy_fence) atomics::heavy_fence(s);
  }
};

/// Where the kernel refuses membarrier.
struct symmetric : atomics {
  static void light_fence(call_site s = call_site::here()) noexcept { fence(std::memory_order_seq_cst, s); }
  static void heavy_fence(call_site s = call_site::here()) noexcept { fence(std::memory_order_seq_cst, s); }
  static bool light_fences_are_free() noexcept { return false; }
  static void free_fence() noexcept {}
};

// What lies behind the lock is plain memory: two at once are a race, and so are two in a row without order.
template <class Atomics>
void owner_against_thieves(int thieves) {
  aramid::detail::steal_lock<Atomics> lock;
  model::plain<int> inside{0};
  int stolen = 0;
  const auto visit = [&] { inside.write(inside.read() + 1); };
  const auto owner = [&] {
    for (int i = 0; i != 2; ++i) {
      lock.enter();
      visit();
      lock.leave();
    }
  };
  const auto thief = [&] {
    if (lock.try_enter()) {
      visit();
      ++stolen;
      lock.exit();
    }
  };
  if (thieves == 1)
    parallel(owner, thief);
  else
    parallel(owner, thief, thief);
  lock.enter();
  MODEL_ASSERT(inside.read() == 2 + stolen);
  lock.leave();
}

template <class Atomics = atomics>
void one_thief() {
  owner_against_thieves<Atomics>(1);
}
template <class Atomics = atomics>
void two_thieves() {
  owner_against_thieves<Atomics>(2);
}

const std::vector<scenario> scenarios{
    {"one thief", &one_thief<>, 4},
    {"two thieves", &two_thieves<>, 3},
};

TEST(steal_lock, keeps_owner_and_thieves_apart) {
  expect_holds_with_the_weakest_orders(scenarios, {"runtime/src"});
  expect_holds({"without membarrier", &one_thief<symmetric>, 4});
}

TEST(steal_lock, needs_both_fences) {
  expect_caught(&one_thief<fences<without::light_fence>>, "data race");
  expect_caught(&one_thief<fences<without::heavy_fence>>, "data race");
}

TEST(steal_lock, thieves_come_one_at_a_time) { expect_caught(&two_thieves<torn_atomics<torn::strong>>); }

}  // namespace
