// A stateless model checker for small concurrent programs: explores their interleavings under bounded preemption, over
// the weak memory of memory.hpp.
//
//     model::result r = model::explore({.preemptions = 2}, [] {
//         model::atomics::atomic<int> x{0}, y{0};
//         int a = 0, b = 0;
//         model::parallel([&] { x.store(1, relaxed); a = y.load(relaxed); },
//                         [&] { y.store(1, relaxed); b = x.load(relaxed); });
//         MODEL_ASSERT(a == 1 || b == 1);
//     });
//     // r.failed; r.report() has the trace, and the choice string that replays it.
//
// How it works:
//   1. The body runs on a stackful context, and so does each thread that `parallel` starts; all on one OS thread.
//   2. Before every visible operation the explorer decides who runs next, and the memory decides what a load reads, where a
//      store lands and whether a weak compare-exchange fails. Every decision goes through `choose`.
//   3. The decisions of an execution form a stack. The next execution repeats it up to the last decision that has an
//      untried alternative and takes that (depth-first search); the first alternative is always the plainest: the same
//      thread goes on, the newest store is read.
//   4. Taking the turn from a thread that could go on costs one preemption; threads that block, finish or spin give it
//      away for free. Bounded preemption finds most bugs at 2 (Musuvathi and Qadeer, PLDI 2007), and stale reads
//      stand in for many more.
//   5. A state that has been met before with at least as many preemptions left is not explored again. The state is what
//      every thread has read so far and what memory holds, so threads must talk through the model's objects only: a body
//      that passes information through anything else must set `merge_states = false`.
//   6. A spinner calls pause(): somebody else runs, and what it read must not be read stale again. An execution beyond
//      `max_steps` is a livelock.
//
// Failures: MODEL_ASSERT, data races on plain cells and on construction and destruction, use after free, double free,
// leaks, deadlock, livelock.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "call_site.hpp"
#include "context.hpp"
#include "heap.hpp"
#include "memory.hpp"
#include "state_set.hpp"
#include "weakening.hpp"

namespace model {

struct options {
  std::string name{};
  int preemptions = 2;
  std::uint64_t max_steps = 3000;            // of one execution
  std::uint64_t max_executions = 3'000'000;  // then the result is incomplete
  bool merge_states = true;
  bool check_leaks = true;
  memory_options memory{};
  std::uint64_t random_executions = 0;  // > 0: that many random walks instead of the search
  std::uint64_t seed = 1;
  std::string replay{};  // a choice string: runs that execution only, and traces it
                         // (not with load_buffering, whose values come from other executions)
  const weakening* weaken = nullptr;  // one memory order weakened, or one fence dropped
  site_table* sites = nullptr;        // collects the call sites of atomic operations
};

struct result {
  bool failed = false;
  bool complete = false;  // everything within the bound was explored
  std::uint64_t executions = 0;
  std::uint64_t merged =
      0;  // of these, cut short at a known state (or impossible: memory.hpp, rule 8)
  std::uint64_t steps = 0;
  std::uint64_t states = 0;
  std::string name;
  std::string failure;
  std::string choices;
  std::string trace;

  explicit operator bool() const { return !failed; }
  /// The figures, and the failure with its trace if there is one.
  std::string report() const;
};

/// Explores `body`. Stops at the first failure.
result explore(const options& options, const std::function<void()>& body);

class explorer final : public arbiter {
public:
  /// The explorer whose body is running.
  static explorer& current();

  explicit explorer(const options& options);
  ~explorer();
  result run(const std::function<void()>& body);

  // arbiter
  std::size_t choose(std::size_t count) override;
  [[noreturn]] void fail(std::string what) override;
  [[noreturn]] void discard() override;
  std::size_t choose_load(std::size_t count, std::uint64_t event) override;
  word later_value(std::uint64_t event, std::size_t index) override {
    return later_values_[event][index];
  }
  void offer_later_value(std::uint64_t event, word value) override;

  // visible operations
  location_id create(const void* address, word initial, memory::formatter format);
  void destroy(location_id id, const void* address);
  word load(location_id id, const void* address, std::memory_order order, call_site site);
  void store(location_id id, const void* address, word value, std::memory_order order,
             call_site site);
  word rmw(location_id id, const void* address, word (*update)(word, const void*),
           const void* argument, std::memory_order order, call_site site);
  bool compare_exchange(location_id id, const void* address, word& expected, word desired,
                        bool weak, std::memory_order success, std::memory_order failure,
                        call_site site);
  void fence(std::memory_order order, call_site site);
  void light_fence(call_site site);
  void heavy_fence(call_site site);
  void pause();
  location_id create_plain(const void* address);
  void destroy_plain(location_id id, const void* address);
  void read_plain(location_id id, const void* address, call_site site);
  void write_plain(location_id id, const void* address, call_site site);
  void name(location_id id, std::string name) { memory_.set_name(id, std::move(name)); }

  // threads
  void parallel(const std::function<void()>* bodies, std::size_t count);
  /// A scheduling point, for operations built outside (blocking.hpp). `what` is for the trace.
  void point();
  /// Blocks the calling thread on `object` until `wake` names it.
  void block(const void* object, const char* what);
  void wake(int thread);
  int self() const { return current_; }
  bool is_blocked_on(int thread, const void* object) const;
  void note(const std::string& what);
  bool tracing() const { return tracing_; }
  /// Ends the execution as passed, whatever the other threads are doing.
  [[noreturn]] void pass();
  /// The user's own decision: a number below `count`.
  std::size_t decide(std::size_t count);
  memory& shared_memory() { return memory_; }

private:
  enum class status { unused, ready, blocked, finished };

  struct thread {
    status state = status::unused;
    const void* waits_for = nullptr;
    const char* waits_in = "";
    const std::function<void()>* body = nullptr;
    unsigned yields_to = 0;  // set by pause: not eligible until one of these has run
    unsigned ran_since = 0;  // who has run since its last pause
  };

  struct decision {
    std::uint32_t count;
    std::uint32_t taken;
    std::uint64_t event = 0;  // of a load that may also read a later value
  };

  static void thread_main(void* self);
  void execute(const std::function<void()>& body);
  bool backtrack();
  bool eligible(int t) const;
  int pick_next(bool may_continue);
  void switch_to(int t);
  [[noreturn]] void leave();
  void merge_if_known(bool may_continue);
  std::uint64_t state(bool may_continue) const;
  void finish_thread();
  std::string deadlock() const;
  [[noreturn]] void stuck();
  void step(const std::string& operation, location_id id, const memory::access& access,
            std::memory_order order, call_site site);
  result& fill(result& r);
  std::string choice_string() const;
  void parse_choices(const std::string& text);

  options options_;
  memory memory_;
  std::array<context, max_threads> contexts_;
  std::array<thread, max_threads> threads_;
  int thread_count_ = 0;
  int current_ = 0;
  int preemptions_ = 0;
  std::uint64_t steps_ = 0;
  bool over_ = false;  // the execution has ended, whatever way
  bool merged_ = false;
  bool passed_ = false;
  bool tracing_ = false;
  std::string failure_;
  std::string trace_;
  std::vector<decision> decisions_;
  std::size_t depth_ = 0;
  std::unordered_map<std::uint64_t, std::vector<word>> later_values_;
  std::string unproven_failure_;  // met in an execution whose promise has yet to be kept
  state_set seen_;
  std::mt19937_64 random_;
  result result_;
};

/// Runs the functions as threads, at the same time, and waits for all of them. Called from an explored body.
template <class... Fns>
void parallel(Fns&&... fns) {
  const std::array<std::function<void()>, sizeof...(Fns)> bodies{
      std::function<void()>(std::ref(fns))...};
  explorer::current().parallel(bodies.data(), bodies.size());
}

/// Ends the execution as passed: what was to be shown has happened, and the other threads would only go on for ever.
[[noreturn]] inline void pass() { explorer::current().pass(); }

/// A number below `count`; every value is explored.
inline std::size_t choose(std::size_t count) { return explorer::current().decide(count); }

[[noreturn]] void assertion_failed(const char* condition, call_site site);

}  // namespace model

/// The property under test. Evaluated inside an explored body.
#define MODEL_ASSERT(condition)       \
  ((condition) ? static_cast<void>(0) \
               : ::model::assertion_failed(#condition, ::model::call_site::here()))
