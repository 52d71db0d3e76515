// A whole runtime on one thread: N stepped workers under a virtual clock, and a seed that decides who goes next. The same
// seed gives the same run, whatever the machine does meanwhile.
//
// A step picks a worker that can run: one that is awake takes a turn, or goes to sleep if it finds nothing; one that sleeps
// wakes if it was woken or its deadline has come. If none can, time jumps to the next deadline; if there is none either, the
// runtime is stuck for good, which is a lost wake.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <aramid/driver.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

#include "runtime/src/runtime_core.hpp"
#include "runtime/src/thread_state.hpp"
#include "runtime/src/worker.hpp"

namespace aramid::test {

/// Never blocks: the simulation keeps its worker from being stepped instead.
class virtual_driver final : public driver {
public:
  explicit virtual_driver(const time_point& now) : now_(now) {}

  void poll(time_point, wake_batch&) noexcept override { woken = false; }
  void wake() noexcept override { woken = woken || !loses_wakes; }
  void flush() noexcept override {}
  bool help(wake_batch&) noexcept override { return false; }
  [[nodiscard]] std::size_t in_flight() const noexcept override { return 0; }
  void drain() noexcept override {}
  [[nodiscard]] time_point now() const noexcept override { return now_; }
  [[nodiscard]] std::string_view name() const noexcept override { return "virtual"; }

  bool woken = false;
  bool loses_wakes = false;  // a broken twin

private:
  const time_point& now_;
};

class simulation {
public:
  simulation(std::uint64_t seed, unsigned workers)
      : random_(seed),
        core_(std::make_shared<detail::runtime_core>(options{.workers = workers}, detail::runtime_core::mode::stepped, seed)) {
    for (unsigned i = 0; i != workers; ++i) {
      sleepers_.push_back({std::make_unique<virtual_driver>(now_)});
      core_->worker_at(i).use_driver(*sleepers_.back().driver);
    }
    core_->assume_crowded(crowded(seed));
  }

  /// The fibers must have ended.
  virtual ~simulation() {
    EXPECT_EQ(core_->stats().fibers, 0U);
    core_.reset();  // before the drivers
  }

  simulation(const simulation&) = delete;
  simulation& operator=(const simulation&) = delete;

  /// Every fourth runtime has no CPU to spare.
  [[nodiscard]] static bool crowded(std::uint64_t seed) { return seed / 8 % 4 == 1; }

  template <class Fn>
  auto spawn(Fn&& fn) {
    return fiber<detail::spawn_result<Fn>>(detail::launch(core_.get(), nullptr, fiber_options{.name = "root"}, std::forward<Fn>(fn)));
  }

  enum class end : std::uint8_t { well, stuck, never };

  /// Steps until every fiber has ended, or can never end because nobody is awake who could go on.
  end try_run(std::uint64_t most_steps = 5'000'000) {
    for (std::uint64_t i = 0; core_->stats().fibers != 0; ++i) {
      if (i == most_steps) {
        return end::never;
      }
      if (!step()) {
        return end::stuck;
      }
    }
    return end::well;
  }

  void run() {
    const end how = try_run();
    ASSERT_EQ(how, end::well) << (how == end::stuck ? "a wake was lost" : "it does not end") << ", " << stats().fibers << " fibers left";
  }

  /// From now on workers that sleep stay so, until `wake_all`: the tests of the simulation itself.
  void lose_wakes() {
    for (sleeper& each : sleepers_) {
      each.driver->loses_wakes = true;
    }
  }
  void wake_all() {
    for (sleeper& each : sleepers_) {
      each.driver->loses_wakes = false;
      each.driver->woken = true;
    }
  }

  /// Lets one worker do one thing. Returns false if none ever can.
  bool step() {
    std::vector<unsigned> able;
    for (unsigned i = 0; i != sleepers_.size(); ++i) {
      const sleeper& each = sleepers_[i];
      if (!each.asleep || each.driver->woken || each.until <= now_ || io_able(i)) {
        able.push_back(i);
      }
    }
    if (able.empty()) {
      time_point next = time_point::max();
      for (unsigned i = 0; i != sleepers_.size(); ++i) {
        next = std::min({next, sleepers_[i].until, io_next(i)});
      }
      if (next == time_point::max()) {
        return false;
      }
      now_ = next;
      return true;
    }
    if (jitter_ && random_() % 64 == 0) {
      now_ += std::chrono::nanoseconds(random_() % 100'000);
    }
    if (helpful_ && random_() % 4 == 0) {
      help(able[random_() % able.size()], static_cast<unsigned>(random_() % sleepers_.size()));
    }
    step(able[random_() % able.size()]);
    return true;
  }

  /// Workers also help each other, as they do when one is stuck in a fiber.
  void let_peers_help() { helpful_ = true; }

  /// Time also passes while workers run.
  void let_time_pass() { jitter_ = true; }

  [[nodiscard]] const time_point& now() const { return now_; }
  [[nodiscard]] statistics stats() const { return core_->stats(); }
  [[nodiscard]] std::uint64_t given() const { return core_->given(); }

protected:
  /// Of a simulation with I/O: whether a worker's driver has something to do, and if not, when.
  [[nodiscard]] virtual bool io_able(unsigned) { return false; }
  [[nodiscard]] virtual time_point io_next(unsigned) { return time_point::max(); }

private:
  struct sleeper {
    std::unique_ptr<virtual_driver> driver;
    bool asleep = false;
    time_point until = time_point::max();
  };

  void step(unsigned index) {
    detail::worker& w = core_->worker_at(index);
    sleeper& self = sleepers_[index];
    w.bind_thread();
    if (self.asleep) {
      end_sleep(w, self);
    } else if (!w.turn()) {
      time_point until = time_point::max();
      wake_batch batch;
      if (w.prepare_sleep(until, batch) != nullptr) {
        self.asleep = true;
        self.until = until;
      } else {
        w.end_sleep(batch);
      }
    }
    detail::state_of_thread()->on = nullptr;
  }

  void help(unsigned helper, unsigned owner) {
    if (helper == owner || sleepers_[helper].asleep || sleepers_[owner].asleep) {
      return;
    }
    core_->worker_at(helper).bind_thread();
    core_->worker_at(helper).help(core_->worker_at(owner));
    detail::state_of_thread()->on = nullptr;
  }

  static void end_sleep(detail::worker& w, sleeper& self) {
    wake_batch batch;
    self.driver->poll(time_point::min(), batch);
    if (&w.current_driver() != self.driver.get()) {
      w.current_driver().poll(time_point::min(), batch);  // one for I/O, made meanwhile
    }
    self.asleep = false;
    self.until = time_point::max();
    w.end_sleep(batch);
  }

  std::mt19937_64 random_;
  time_point now_{std::chrono::hours(1)};
  bool jitter_ = false;
  bool helpful_ = false;
  std::vector<sleeper> sleepers_;
  std::shared_ptr<detail::runtime_core> core_;
};

}  // namespace aramid::test
