// Every nesting of scopes, deadlines, shields and groups, with every choice of what is cancelled, against what the rules say. The rules
// (waiter.hpp, DESIGN §2 laws 1 and 6), as a reference that knows no fibers:
//
//   - a request counts for a wait if no shield lies between the wait and the layer that was requested;
//   - a wait for which any request counts throws; the exception is swallowed by the outermost of those layers, and by the fiber if its own
//     request counts;
//   - what is requested stays so: behind the swallowing layer the next wait is judged anew, by the layers around it.

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/event.hpp>
#include <aramid/fiber.hpp>
#include <aramid/task_group.hpp>
#include <aramid/timeout.hpp>

#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {

namespace {

using namespace std::chrono_literals;

enum class layer : unsigned { scope, deadline, try_deadline, shield, group };
constexpr unsigned kinds = 5;

struct nesting {
  std::vector<layer> layers;    // the outermost first
  std::vector<bool> requested;  // of the same; a shield cannot be
  bool fiber_cancelled = false;

  [[nodiscard]] std::string text() const {
    std::string out = fiber_cancelled ? "fiber* " : "fiber ";
    for (std::size_t i = 0; i != layers.size(); ++i) {
      out += std::array{"scope", "deadline", "try_deadline", "shield", "group"}[static_cast<unsigned>(layers[i])];
      out += requested[i] ? "* " : " ";
    }
    return out;
  }
};

/// What is noted: 'w' a wait that came to its end, 'x' one that threw; at the end of each layer '.' if it came to its own, 's' if it
/// swallowed, 't' if it threw timeout_error, 'p' if the exception passed.
using notes = std::string;

// --- the reference -----------------------------------------------------------------------------------------------------

constexpr std::size_t nobody = static_cast<std::size_t>(-1);
constexpr std::size_t the_fiber = static_cast<std::size_t>(-2);

/// Who swallows what a wait inside of the first `depth` layers throws; nobody if it does not throw.
std::size_t swallower(const nesting& of, std::size_t depth) {
  std::size_t found = nobody;
  for (std::size_t i = depth; i-- != 0;) {
    if (of.layers[i] == layer::shield) {
      return found;
    }
    if (of.requested[i]) {
      found = i;
    }
  }
  return of.fiber_cancelled ? the_fiber : found;
}

/// The body of layer `depth`: a wait, the layers inside, another wait. Returns who swallows what leaves it.
std::size_t expect_body(const nesting& of, std::size_t depth, notes& out);

std::size_t expect_wait(const nesting& of, std::size_t depth, notes& out) {
  const std::size_t by = swallower(of, depth);
  out += by == nobody ? 'w' : 'x';
  return by;
}

/// One layer, seen from outside.
std::size_t expect_layer(const nesting& of, std::size_t depth, notes& out) {
  const std::size_t by = expect_body(of, depth + 1, out);
  if (by == nobody) {
    out += '.';
  } else if (by != depth) {
    out += 'p';
  } else if (of.layers[depth] == layer::deadline) {
    out += 't';
    return nobody;  // caught right outside of it
  } else {
    out += 's';
    return nobody;
  }
  return by;
}

std::size_t expect_body(const nesting& of, std::size_t depth, notes& out) {
  if (depth == of.layers.size()) {
    return expect_wait(of, depth, out);
  }
  if (const std::size_t by = expect_layer(of, depth, out); by != nobody) {
    return by;
  }
  return expect_wait(of, depth, out);
}

// --- the product -------------------------------------------------------------------------------------------------------

class runner {
public:
  runner(const nesting& of, bool suspends) : of_(of), suspends_(suspends) {}

  void body(std::size_t depth) {
    if (depth != of_.layers.size()) {
      one_layer(depth);
    }
    wait();
  }

  notes out;

private:
  void wait() {
    try {
      if (suspends_) {
        this_fiber::sleep_for(1us);
      } else {
        this_fiber::checkpoint();
      }
    } catch (const cancelled&) {
      out += 'x';
      throw;
    }
    out += 'w';
  }

  void end(bool came_to_end) { out += came_to_end ? '.' : 's'; }

  void one_layer(std::size_t depth) {
    bool noted = false;
    try {
      const bool requested = of_.requested[depth];
      switch (of_.layers[depth]) {
        case layer::scope: {
          cancel_scope scope;
          if (requested) {
            scope.cancel();
          }
          end(scope.run([&] { body(depth + 1); }));
          break;
        }
        case layer::deadline:
          try {
            with_timeout(requested ? 0s : 1h, [&] { body(depth + 1); });
            out += '.';
          } catch (const timeout_error&) {
            out += 't';
          }
          break;
        case layer::try_deadline:
          end(try_with_timeout(requested ? 0s : 1h, [&] { body(depth + 1); }));
          break;
        case layer::shield:
          shield::run([&] { body(depth + 1); });
          out += '.';
          break;
        case layer::group:
          // A child that fails cancels the body; the group's own error then takes the place of `cancelled`.
          try {
            with_task_group([&](task_group& group) {
              if (requested) {
                auto fails = group.spawn([] { throw std::runtime_error("on purpose"); });
                const shield through;
                fails.wait();
                while (group.errors().empty()) {
                  this_fiber::yield();
                }
              }
              body(depth + 1);
            });
            out += '.';
          } catch (const std::runtime_error&) {
            out += 's';
          }
          break;
      }
      noted = true;
    } catch (const cancelled&) {
      if (!noted) {
        out += 'p';
      }
      throw;
    }
  }

  const nesting& of_;
  const bool suspends_;
};

notes run_it(const nesting& of, bool suspends) {
  runner all(of, suspends);
  event started;
  event go;
  auto fiber = spawn([&] {
    started.set();
    shield::run([&] { go.wait(); });
    all.body(0);
  });
  started.wait();
  if (of.fiber_cancelled) {
    fiber.cancel();
  }
  go.set();
  fiber.wait();
  return all.out;
}

/// Calls `fn` with every nesting of up to `depth` more layers.
template <class Fn>
void for_each_nesting(nesting& so_far, std::size_t depth, Fn fn) {
  for (const bool fiber_cancelled : {false, true}) {
    so_far.fiber_cancelled = fiber_cancelled;
    fn(so_far);
  }
  if (depth == 0) {
    return;
  }
  for (unsigned kind = 0; kind != kinds; ++kind) {
    for (const bool requested : {false, true}) {
      if (requested && static_cast<layer>(kind) == layer::shield) {
        continue;
      }
      so_far.layers.push_back(static_cast<layer>(kind));
      so_far.requested.push_back(requested);
      for_each_nesting(so_far, depth - 1, fn);
      so_far.layers.pop_back();
      so_far.requested.pop_back();
    }
  }
}

class cancel_matrix_test : public runtime_test {};
INSTANTIATE_TEST_SUITE_P(workers, cancel_matrix_test, worker_counts);

TEST_P(cancel_matrix_test, every_nesting_ends_as_the_rules_say) {
  const captured_log errors_that_a_cancellation_kept_from_being_heard;
  run([] {
    int seen = 0;
    nesting from_scratch;
    for_each_nesting(from_scratch, sanitized ? 2 : 4, [&](const nesting& each) {
      notes expected;
      expect_body(each, 0, expected);
      for (const bool suspends : {false, true}) {
        ASSERT_EQ(run_it(each, suspends), expected) << each.text() << (suspends ? "(suspending)" : "(checkpoints)");
      }
      ++seen;
    });
    EXPECT_EQ(seen, sanitized ? 2 * (1 + 9 + 81) : 2 * (1 + 9 + 81 + 729 + 6561));
  });
}

}  // namespace

}  // namespace aramid::test
