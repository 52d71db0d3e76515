// fiber_life.hpp: a block goes back to the pool once, after everybody; its result is dropped once; a walker meets only the living.
#include "fiber_life.hpp"

#include "litmus.hpp"

namespace {

using namespace model;

/// As detail/spin_lock.hpp.
class lock_word {
public:
  void lock() {
    while (locked_.exchange(true, std::memory_order_acquire)) model::atomics::pause();
  }
  void unlock() { locked_.store(false, std::memory_order_release); }
  [[nodiscard]] bool is_free() const { return !locked_.load(std::memory_order_acquire); }

private:
  model::atomic<bool> locked_{false};
};

using life = aramid::detail::fiber_life<model::atomics, lock_word>;

/// What a broken twin does otherwise.
struct twin {
  bool walker_locks = true;
  bool end_is_locked = true;
};

/// A control block as fiber.cpp uses it. What lies in it is plain memory: a touch by somebody who may not is a race.
class block {
public:
  void begin(int core) {
    core_.write(core);
    result_.write(0);
    life_.begin();
  }

  // fiber_control::announce_end
  void end(bool in_group, twin which) {
    result_.write(1);
    if (which.end_is_locked) life_.lock();
    const bool has_handle = life_.end(in_group);
    if (which.end_is_locked) life_.unlock();
    if (!has_handle) drop_result();
    if (in_group) {
      core_.read();  // group_core::child_ended
      leave(life::holder::runtime);
    } else if (!has_handle) {
      retire();
    }
  }

  // fiber_control::release_handle
  void release() {
    if (!life_.done() && life_.leave_early()) return;
    drop_result();
    leave(life::holder::handle);
  }

  // runtime_core::cancel_all
  void walk(int core, twin which) {
    if (!life_.is_alive()) return;
    if (which.walker_locks) life_.lock();
    if (life_.is_alive() && core_.read() == core) chain_.write(chain_.read() + 1);
    if (which.walker_locks) life_.unlock();
  }

  [[nodiscard]] int lives_ended() const { return lives_ended_.read(); }
  [[nodiscard]] bool result_dropped() const { return result_.read() == 2; }

private:
  void leave(life::holder who) {
    if (life_.leave(who)) retire();
  }
  void drop_result() {
    MODEL_ASSERT(result_.read() == 1);
    result_.write(2);
  }
  void retire() {
    MODEL_ASSERT(result_.read() == 2);
    lives_ended_.write(lives_ended_.read() + 1);
    life_.clear();
    chain_.write(0);  // reset_cancellation
  }

  life life_;
  model::plain<int> core_{0};
  model::plain<int> result_{0};
  model::plain<int> chain_{0};
  model::plain<int> lives_ended_{0};
};

void end_against_release(bool in_group, twin which) {
  block b;
  b.begin(1);
  parallel([&] { b.end(in_group, which); }, [&] { b.release(); });
  MODEL_ASSERT(b.lives_ended() == 1);
  MODEL_ASSERT(b.result_dropped());
}

// The walker may be late: then it meets the block's next life, which is somebody else's.
void walker(bool in_group, twin which) {
  block b;
  b.begin(1);
  parallel(
      [&] {
        b.end(in_group, which);
        b.release();
        b.begin(2);
      },
      [&] { b.walk(1, which); });
  MODEL_ASSERT(b.lives_ended() == 1);
}

const std::vector<scenario> scenarios{
    {"end against release", [] { end_against_release(false, {}); }, 4},
    {"end against release in a group", [] { end_against_release(true, {}); }, 4},
    {"walker", [] { walker(false, {}); }, 4},
    {"walker at a child of a group", [] { walker(true, {}); }, 4},
};

TEST(fiber_life, ends_once_after_everybody) {
  expect_holds_with_the_weakest_orders(scenarios, {"runtime/src"});
}

TEST(fiber_life, needs_its_lock) {
  expect_caught([] { walker(false, {.walker_locks = false}); });
  expect_caught([] { walker(false, {.end_is_locked = false}); });
}

}  // namespace
