// Random mixes of everything that fibers do to each other, for as long as one likes: spawning, stealing, yielding, parking, sleeping,
// timing out, being cancelled, channels, selections, locks, permits, groups, pools, calls that block, pinned fibers, plain threads. What
// goes in is counted against what comes out. Prints its seed first; the same seed makes the same choices, though not the same interleaving.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <iostream>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
#include <shared_mutex>
#include <stop_token>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <aramid/blocking.hpp>
#include <aramid/cancel.hpp>
#include <aramid/channel.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/fiber_local.hpp>
#include <aramid/fiber_pool.hpp>
#include <aramid/mutex.hpp>
#include <aramid/run.hpp>
#include <aramid/select.hpp>
#include <aramid/semaphore.hpp>
#include <aramid/shared_mutex.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "dice.hpp"

using namespace aramid;
using namespace std::chrono_literals;

namespace {

// How deep actors have children. ThreadSanitizer can bear two thousand fibers at once.
#if defined(__SANITIZE_THREAD__)
constexpr int depth_limit = 2;
#else
constexpr int depth_limit = 4;
#endif

constexpr std::ptrdiff_t permit_count = 3;

/// What one round counts. Every item that was sent has to be received once, every increment has to be there.
struct stage {
  channel<std::uint64_t> handed_over{0};
  channel<std::uint64_t> buffered{3};
  mutex lock;
  std::uint64_t guarded = 0;  // under the lock
  std::atomic<std::uint64_t> increments{0};
  shared_mutex shared;
  std::uint64_t left = 0, right = 0;  // under `shared`, and equal whenever nobody writes
  std::atomic<std::uint64_t> torn{0}, writes{0};
  counting_semaphore<> permits{permit_count};
  std::atomic<std::ptrdiff_t> inside{0}, too_many{0};
  event bell;
  std::atomic<std::uint64_t> calls_begun{0}, calls_ended{0};
  std::atomic<std::uint64_t> mapped{0}, map_expected{0};
  fiber_local<std::uint64_t> own;
  std::atomic<std::uint64_t> mistaken{0};  // for another's
  context_var<std::uint64_t> inherited{0};
  std::atomic<std::uint64_t> sent{0}, sum_sent{0}, received{0}, sum_received{0};

  channel<std::uint64_t>& any(dice& d) { return d.below(2) == 0 ? handed_over : buffered; }

  void note_received(std::uint64_t item) {
    ++received;
    sum_received += item;
  }
};

void send_some(stage& s, dice& d) {
  for (int i = d.below(20); i > 0; --i) {
    const std::uint64_t item = d.seed() >> 16;
    if (s.any(d).send_for(item, d.a_while()) == channel_status::ok) {
      ++s.sent;
      s.sum_sent += item;
    }
  }
}

void receive_some(stage& s, dice& d) {
  for (int i = d.below(20); i > 0; --i) {
    if (const auto item = s.any(d).receive_for(d.a_while())) {
      s.note_received(*item);
    }
  }
}

void increment(stage& s, dice& d) {
  for (int i = d.below(20); i > 0; --i) {
    const std::lock_guard guard(s.lock);
    ++s.increments;
    const std::uint64_t before = s.guarded;
    if (d.below(4) == 0) {
      const shield from_cancellation;  // an increment is whole or it is not
      this_fiber::yield();
    }
    s.guarded = before + 1;
  }
}

void select_some(stage& s, dice& d) {
  for (int i = d.below(20); i > 0; --i) {
    const std::uint64_t item = d.seed() >> 16;
    const auto note = [&](std::optional<std::uint64_t> got) {
      if (got) {
        s.note_received(*got);
      }
    };
    const auto note_sent = [&] {
      ++s.sent;
      s.sum_sent += item;
    };
    select(on_receive(s.handed_over, note), on_receive(s.buffered, note), on_send(s.any(d), item, note_sent), on_set(s.bell),
           after(d.a_while()));
  }
}

void ring(stage& s, dice& d) {
  d.below(2) == 0 ? s.bell.set() : s.bell.clear();
  (void)s.bell.wait_for(d.a_while());
}

void read_and_write(stage& s, dice& d) {
  for (int i = d.below(10); i > 0; --i) {
    if (d.below(3) != 0) {
      if (s.shared.try_lock_shared_for(d.a_while())) {
        const std::shared_lock held(s.shared, std::adopt_lock);
        s.torn += s.left != s.right ? 1 : 0;
      }
    } else if (s.shared.try_lock_for(d.a_while())) {
      const std::lock_guard held(s.shared, std::adopt_lock);
      const shield from_cancellation;
      ++s.left;
      this_fiber::yield();
      ++s.right;
      ++s.writes;
    }
  }
}

void use_permits(stage& s, dice& d) {
  for (int i = d.below(10); i > 0; --i) {
    if (s.permits.try_acquire_for(d.a_while())) {
      if (++s.inside > permit_count) {
        ++s.too_many;
      }
      {
        const shield from_cancellation;
        this_fiber::yield();
      }
      --s.inside;
      s.permits.release();
    }
  }
}

void block(stage& s, dice& d) {
  (void)try_with_timeout(d.a_while(), [&] {
    blocking([&s, pause = d.below(50)](const std::stop_token&) {
      ++s.calls_begun;
      std::this_thread::sleep_for(std::chrono::microseconds(pause));
      ++s.calls_ended;
    });
  });
}

void stay_oneself(stage& s, dice& d) {
  const std::uint64_t mine = d.seed();
  *s.own = mine;
  const context_var<std::uint64_t>::binding bound(s.inherited, mine);
  auto child = spawn([&s, mine] { s.mistaken += s.own.find() != nullptr || s.inherited.get() != mine ? 1 : 0; });
  this_fiber::yield();
  s.mistaken += *s.own != mine || s.inherited.get() != mine ? 1 : 0;
  child.join();
}

/// A map over a pool whose steps are cut short: each result comes once.
void map_some(stage& s, dice& d) {
  const int inputs = d.below(20);
  fiber_pool pool(static_cast<std::size_t>(1 + d.below(4)));
  std::vector<int> counted(static_cast<std::size_t>(inputs));
  std::iota(counted.begin(), counted.end(), 1);
  auto results = pool.map_unordered(counted, [](int n) {
    this_fiber::yield();
    return static_cast<std::uint64_t>(n);
  });
  std::optional<decltype(results.begin())> at;
  std::uint64_t sum = 0;
  for (;;) {
    const bool went = try_with_timeout(d.a_while(), [&] { at ? (void)++*at : (void)at.emplace(results.begin()); });
    if (went && *at == results.end()) {
      break;
    }
    sum += went ? **at : 0;
  }
  s.mapped += sum;
  s.map_expected += static_cast<std::uint64_t>(inputs * (inputs + 1) / 2);
}

void act(stage& s, std::uint64_t seed, int depth);

void have_children(stage& s, dice& d, int depth) {
  std::vector<fiber<>> children;
  for (int i = d.below(6); i > 0; --i) {
    children.push_back(
        spawn(fiber_options{.pinned = d.below(8) == 0}, [&s, seed = d.seed(), depth] { act(s, seed, depth + 1); }));
  }
  for (fiber<>& child : children) {
    switch (d.below(4)) {
      case 0:
        child.cancel();
        break;
      case 1:
        (void)child.join_for(d.a_while());
        break;
      default:
        try {
          child.join();
        } catch (const fiber_cancelled&) {
        }
    }
  }
}

void have_a_group(stage& s, dice& d, int depth) {
  task_group group(on_error::isolate);
  for (int i = d.below(6); i > 0; --i) {
    (void)group.spawn([&s, seed = d.seed(), depth] { act(s, seed, depth + 1); });
  }
  if (d.below(3) == 0) {
    group.cancel();
  }
  group.join();
}

void act(stage& s, std::uint64_t seed, int depth) {
  dice d(seed);
  for (int i = d.below(8); i > 0; --i) {
    switch (d.below(16)) {
      case 0:
        send_some(s, d);
        break;
      case 1:
        receive_some(s, d);
        break;
      case 2:
        increment(s, d);
        break;
      case 3:
        this_fiber::sleep_for(d.a_while());
        break;
      case 4:
        for (int n = d.below(50); n > 0; --n) {
          this_fiber::yield();
        }
        break;
      case 5:
        if (depth < depth_limit) {
          have_children(s, d, depth);
        }
        break;
      case 6:
        if (depth < depth_limit) {
          have_a_group(s, d, depth);
        }
        break;
      case 7:
        (void)try_with_timeout(d.a_while(), [&] { receive_some(s, d); });
        break;
      case 9:
        select_some(s, d);
        break;
      case 10:
        ring(s, d);
        break;
      case 11:
        read_and_write(s, d);
        break;
      case 12:
        use_permits(s, d);
        break;
      case 13:
        block(s, d);
        break;
      case 14:
        stay_oneself(s, d);
        break;
      case 15:
        if (depth < depth_limit) {
          map_some(s, d);
        }
        break;
      case 8: {
        cancel_scope scope;
        fiber<> canceller = spawn([&scope, wait = d.a_while()] {
          this_fiber::sleep_for(wait);
          scope.cancel();
        });
        (void)scope.run([&] { send_some(s, d); });
        break;
      }
    }
  }
}

/// A plain thread that takes part.
void be_a_thread(stage& s, std::uint64_t seed) {
  dice d(seed);
  for (int i = 0; i != 30; ++i) {
    d.below(2) == 0 ? send_some(s, d) : receive_some(s, d);
    increment(s, d);
    read_and_write(s, d);
    use_permits(s, d);
    select_some(s, d);
  }
}

bool equal(const char* what, std::uint64_t in, std::uint64_t out) {
  if (in != out) {
    std::cout << what << ": " << in << " in, " << out << " out" << std::endl;
  }
  return in == out;
}

/// Returns whether everything that went in came out.
bool play_round(std::uint64_t seed, unsigned workers) {
  dice d(seed);
  stage s;
  const std::size_t left = aramid::run(
      [&] {
        std::thread outside(be_a_thread, std::ref(s), d.seed());
        {
          task_group actors;
          for (int i = 2 + d.below(40); i > 0; --i) {
            (void)actors.spawn([&s, seed = d.seed()] { act(s, seed, 0); });
          }
          actors.join();
        }
        outside.join();  // holds the worker up: the others have to do without it
        for (channel<std::uint64_t>* each : {&s.handed_over, &s.buffered}) {
          each->close();
          while (const auto item = each->receive()) {
            s.note_received(*item);
          }
        }
        return stats().fibers;
      },
      options{.workers = workers});
  // One by one, so that all that differ are named.
  const bool items = equal("items", s.sent, s.received);
  const bool sums = equal("the items' sum", s.sum_sent, s.sum_received);
  const bool increments = equal("increments", s.increments, s.guarded);
  const bool writes = equal("writes", s.writes, s.left) && equal("torn reads", 0, s.torn);
  const bool permits = equal("permits", 0, static_cast<std::uint64_t>(s.inside + s.too_many));
  const bool calls = equal("blocking calls", s.calls_begun, s.calls_ended);
  const bool maps = equal("what maps gave", s.map_expected, s.mapped);
  const bool selves = equal("locals of others", 0, s.mistaken);
  return equal("fibers left", 1, left) && items && sums && increments && writes && permits && calls && maps && selves;
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 3600;
  std::uint64_t seed = std::random_device()() * std::uint64_t{0x9e3779b9} + std::random_device()();
  CLI::App app("Random mixes of what fibers do to each other; counts what goes in against what comes out.");
  app.add_option("--seconds", seconds, "how long")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--seed", seed, "of the choices; the one of an earlier run makes the same");
  CLI11_PARSE(app, argc, argv);
  std::cout << "stress: --seed " << seed << std::endl;

  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  auto report = std::chrono::steady_clock::now() + 60s;
  dice rounds(seed);
  long played = 0;
  while (std::chrono::steady_clock::now() < end) {
    for (const unsigned workers : {1U, 2U, 8U}) {
      if (!play_round(rounds.seed(), workers)) {
        std::cout << "stress: failed in round " << played << " with " << workers << " workers; --seed " << seed << std::endl;
        return 1;
      }
      ++played;
    }
    if (std::chrono::steady_clock::now() > report) {
      report += 60s;
      std::cout << "stress: " << played << " rounds" << std::endl;
    }
  }
  std::cout << "stress: " << played << " rounds, nothing lost or doubled" << std::endl;
}
