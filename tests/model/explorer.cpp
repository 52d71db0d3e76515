#include "explorer.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace model {
namespace {

explorer* active = nullptr;

// The first decisions are the plain ones; a random walk takes them half the time, or it would do nothing but preempt.
std::size_t random_choice(std::mt19937_64& random, std::size_t count) {
  return random() % 2 == 0 ? 0 : random() % count;
}

}  // namespace

explorer& explorer::current() {
  if (active == nullptr) {
    std::fputs("model: an atomic operation outside of model::explore\n", stderr);
    std::abort();
  }
  return *active;
}

explorer::explorer(const options& options)
    : options_(options), memory_(*this), random_(options.seed) {
  active = this;
  heap::on_free = [](const heap::block& b) {
    const heap::untracked scope;
    active->memory_.destroy_range(active->current_, b.address, b.size_bytes);
  };
  heap::on_double_free = [](const heap::block&) {
    const heap::untracked scope;
    active->fail("double free");
  };
}

explorer::~explorer() {
  heap::on_free = nullptr;
  heap::on_double_free = nullptr;
  active = nullptr;
}

// ---- one execution, and the search over all of them -----------------------------------------------------------------

void explorer::thread_main(void* self) {
  auto& e = *static_cast<explorer*>(self);
  const std::function<void()>& body = *e.threads_[static_cast<std::size_t>(e.current_)].body;
  heap::tracking = true;
  body();
  heap::tracking = false;
  e.finish_thread();
}

void explorer::execute(const std::function<void()>& body) {
  memory_.reset(options_.memory);
  threads_.fill({});
  thread_count_ = 1;
  current_ = 0;
  preemptions_ = 0;
  depth_ = 0;
  over_ = merged_ = passed_ = false;
  failure_.clear();
  unproven_failure_.clear();
  const std::uint64_t steps_before = steps_;
  threads_[0].state = status::ready;
  threads_[0].body = &body;
  threads_[0].ran_since = ~0U;
  memory_.start_thread(0, -1);
  contexts_[0].start(&thread_main, this);
  while (!over_) contexts_[static_cast<std::size_t>(current_)].resume();
  for (int t = 0; t < thread_count_; ++t) contexts_[static_cast<std::size_t>(t)].abandon();
  if (options_.check_leaks && !merged_ && !passed_ && failure_.empty() && heap::live_blocks() != 0)
    failure_ = "leak: " + std::to_string(heap::live_blocks()) + " block(s) never freed";
  heap::reset();
  ++result_.executions;
  result_.steps += steps_ - steps_before;
  steps_ = 0;
  if (merged_) ++result_.merged;
}

bool explorer::backtrack() {
  decisions_.resize(depth_);
  const auto alternatives = [&](const decision& d) {
    const auto later = d.event == 0 ? later_values_.end() : later_values_.find(d.event);
    return d.count + (later == later_values_.end() ? 0 : later->second.size());
  };
  while (!decisions_.empty() && decisions_.back().taken + 1 >= alternatives(decisions_.back()))
    decisions_.pop_back();
  if (decisions_.empty()) return false;
  ++decisions_.back().taken;
  return true;
}

result explorer::run(const std::function<void()>& body) {
  result_ = {};
  result_.name = options_.name;
  if (!options_.replay.empty()) {
    parse_choices(options_.replay);
    tracing_ = true;
    execute(body);
  } else if (options_.random_executions > 0) {
    for (std::uint64_t i = 0; i < options_.random_executions && failure_.empty(); ++i) {
      decisions_.clear();
      execute(body);
    }
  } else {
    do {
      execute(body);
    } while (failure_.empty() && result_.executions < options_.max_executions && backtrack());
    result_.complete = failure_.empty() && decisions_.empty();
  }
  result_.states = seen_.size();
  if (failure_.empty()) return result_;

  result_.failed = true;
  result_.failure = failure_;
  decisions_.resize(depth_);
  result_.choices = choice_string();
  if (!tracing_) {  // once more, the same way, with the trace on
    tracing_ = true;
    execute(body);
    if (failure_ != result_.failure)
      result_.failure += "\n(on replay: \"" + failure_ + "\": the body is not deterministic)";
  }
  result_.trace = trace_;
  return result_;
}

result explore(const options& options, const std::function<void()>& body) {
  explorer e(options);
  return e.run(body);
}

// ---- decisions ------------------------------------------------------------------------------------------------------

std::size_t explorer::choose(std::size_t count) {
  if (count <= 1) return 0;
  if (depth_ == decisions_.size()) {
    const std::size_t taken = options_.random_executions > 0 && !tracing_
                                  ? random_choice(random_, count)
                                  : std::size_t{0};
    decisions_.push_back({static_cast<std::uint32_t>(count), static_cast<std::uint32_t>(taken)});
  }
  decision& d = decisions_[depth_++];
  if (d.count == 0) d.count = static_cast<std::uint32_t>(count);
  if (d.count != count || d.taken >= count)
    fail("the body is not deterministic: a replayed decision has other alternatives");
  return d.taken;
}

std::size_t explorer::choose_load(std::size_t count, std::uint64_t event) {
  if (options_.random_executions > 0 && !tracing_) return choose(count);
  if (depth_ == decisions_.size())
    decisions_.push_back({static_cast<std::uint32_t>(count), 0, event});
  return decisions_[depth_++].taken;
}

void explorer::offer_later_value(std::uint64_t event, word value) {
  std::vector<word>& values = later_values_[event];
  if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
}

void explorer::fail(std::string what) {
  if (memory_.promises_open()) {
    // Not a failure yet: the others go on until the promise is kept, or cannot be.
    if (unproven_failure_.empty()) unproven_failure_.swap(what);
    std::string().swap(what);
    thread& self = threads_[static_cast<std::size_t>(current_)];
    self.state = status::blocked;
    self.waits_for = this;
    self.waits_in = "a failure";
    const int next = pick_next(false);
    if (next < 0) discard();
    switch_to(next);
    std::abort();  // nobody wakes it
  }
  failure_.swap(what);
  std::string().swap(what);  // nobody will destroy it
  leave();
}

void explorer::pass() {
  const heap::untracked scope;
  memory_.check_promises();
  note("passes");
  passed_ = true;
  leave();
}

void explorer::discard() {
  merged_ = true;
  leave();
}

void explorer::leave() {
  over_ = true;
  contexts_[static_cast<std::size_t>(current_)].suspend();
  std::abort();  // abandoned: never resumed
}

std::uint64_t explorer::state(bool may_continue) const {
  std::uint64_t sum = memory_.fingerprint();
  for (int i = 0; i < thread_count_; ++i) {
    const thread& t = threads_[static_cast<std::size_t>(i)];
    const std::uint64_t flags = static_cast<std::uint64_t>(t.state) |
                                (std::uint64_t{t.yields_to} << 8) |
                                (std::uint64_t{t.ran_since} << 24);
    sum = mix_hash(sum, mix_hash(memory_.history(i), flags));
  }
  return mix_hash(sum, static_cast<std::uint64_t>(current_) * 2 + (may_continue ? 1 : 0));
}

void explorer::merge_if_known(bool may_continue) {
  if (!options_.merge_states || tracing_ || options_.random_executions > 0 ||
      depth_ != decisions_.size())
    return;
  if (!seen_.known(state(may_continue), options_.preemptions - preemptions_)) return;
  merged_ = true;
  leave();
}

// ---- scheduling -----------------------------------------------------------------------------------------------------

bool explorer::eligible(int i) const {
  const thread& t = threads_[static_cast<std::size_t>(i)];
  return t.state == status::ready && (t.yields_to == 0 || (t.yields_to & t.ran_since) != 0);
}

int explorer::pick_next(bool may_continue) {
  merge_if_known(may_continue);
  std::array<int, max_threads> candidates;
  std::size_t count = 0;
  if (may_continue) candidates[count++] = current_;
  if (!may_continue || preemptions_ < options_.preemptions)
    for (int t = 0; t < thread_count_; ++t)
      if (t != current_ && eligible(t)) candidates[count++] = t;
  if (count == 0)
    for (int t = 0; t < thread_count_; ++t)
      if (t != current_ && threads_[static_cast<std::size_t>(t)].state == status::ready)
        candidates[count++] = t;
  if (count == 0 && threads_[static_cast<std::size_t>(current_)].state == status::ready)
    candidates[count++] = current_;
  if (count == 0) return -1;
  const int next = candidates[choose(count)];
  if (may_continue && next != current_) ++preemptions_;
  return next;
}

void explorer::switch_to(int next) {
  threads_[static_cast<std::size_t>(next)].yields_to = 0;
  if (next == current_) return;
  const int old = current_;
  current_ = next;
  contexts_[static_cast<std::size_t>(old)].suspend();
}

void explorer::point() {
  if (!unproven_failure_.empty() && !memory_.promises_open()) fail(unproven_failure_);
  if (++steps_ > options_.max_steps) fail("livelock: the execution does not end within max_steps");
  switch_to(pick_next(true));
  for (thread& t : threads_) t.ran_since |= 1U << current_;
}

void explorer::pause() {
  const heap::untracked scope;
  if (++steps_ > options_.max_steps) fail("livelock: the execution does not end within max_steps");
  memory_.pause(current_);
  thread& self = threads_[static_cast<std::size_t>(current_)];
  self.yields_to = 0;
  for (int t = 0; t < thread_count_; ++t)
    if (t != current_ && threads_[static_cast<std::size_t>(t)].state == status::ready &&
        (self.ran_since >> t & 1U) == 0)
      self.yields_to |= 1U << t;
  self.ran_since = 0;
  note("pause");
  switch_to(pick_next(false));
}

std::string explorer::deadlock() const {
  std::string text = "deadlock:";
  for (int i = 0; i < thread_count_; ++i) {
    const thread& t = threads_[static_cast<std::size_t>(i)];
    if (t.state == status::blocked)
      text += " thread " + std::to_string(i) + " waits in " + t.waits_in + ";";
  }
  return text;
}

void explorer::stuck() {
  memory_.check_promises();
  fail(unproven_failure_.empty() ? deadlock() : unproven_failure_);
}

void explorer::block(const void* object, const char* what) {
  thread& self = threads_[static_cast<std::size_t>(current_)];
  self.state = status::blocked;
  self.waits_for = object;
  self.waits_in = what;
  note(std::string("blocks in ") + what);
  const int next = pick_next(false);
  if (next < 0) stuck();
  switch_to(next);
}

void explorer::wake(int i) {
  thread& t = threads_[static_cast<std::size_t>(i)];
  t.state = status::ready;
  t.waits_for = nullptr;
}

bool explorer::is_blocked_on(int i, const void* object) const {
  const thread& t = threads_[static_cast<std::size_t>(i)];
  return t.state == status::blocked && t.waits_for == object;
}

void explorer::parallel(const std::function<void()>* bodies, std::size_t count) {
  const heap::untracked scope;
  if (thread_count_ + static_cast<int>(count) > max_threads)
    fail("too many threads for the explorer (max_threads)");
  const int parent = current_;
  const int first = thread_count_;
  for (std::size_t i = 0; i < count; ++i) {
    const int child = thread_count_++;
    thread& t = threads_[static_cast<std::size_t>(child)];
    t = {};
    t.state = status::ready;
    t.body = &bodies[i];
    t.ran_since = ~0U;
    memory_.start_thread(child, parent);
    contexts_[static_cast<std::size_t>(child)].start(&thread_main, this);
  }
  block(bodies, "parallel");
  memory_.check_promises();
  for (int child = first; child < first + static_cast<int>(count); ++child)
    memory_.join_thread(parent, child);
}

void explorer::finish_thread() {
  thread& self = threads_[static_cast<std::size_t>(current_)];
  self.state = status::finished;
  note("ends");
  bool all_children = true;
  for (int t = 1; t < thread_count_; ++t)
    all_children = all_children && threads_[static_cast<std::size_t>(t)].state == status::finished;
  if (!unproven_failure_.empty() && !memory_.promises_open()) fail(unproven_failure_);
  if (all_children && threads_[0].state == status::blocked) wake(0);
  if (threads_[0].state == status::finished) {
    if (memory_.promises_open()) merged_ = true;
    over_ = true;
    return;
  }
  const int next = pick_next(false);
  if (next < 0) stuck();
  threads_[static_cast<std::size_t>(next)].yields_to = 0;
  current_ = next;  // this context returns; the loop in execute() goes on with the next
}

std::size_t explorer::decide(std::size_t count) {
  const heap::untracked scope;
  const std::size_t taken = choose(count);
  memory_.remember(current_, taken + 1);
  note("chooses " + std::to_string(taken) + " of " + std::to_string(count));
  return taken;
}

void assertion_failed(const char* condition, call_site site) {
  const heap::untracked scope;
  explorer::current().fail(std::string("assertion failed: ") + condition + " (" + site.file + ":" +
                           std::to_string(site.line) + ")");
}

// ---- the way a failure is told --------------------------------------------------------------------------------------

void explorer::note(const std::string& what) {
  if (tracing_) trace_ += "  T" + std::to_string(current_) + "  " + what + "\n";
}

// Taken decisions, dot-separated; "0x7" is seven zeros.
std::string explorer::choice_string() const {
  std::string text;
  for (std::size_t i = 0; i < decisions_.size();) {
    std::size_t run = i;
    while (run < decisions_.size() && decisions_[run].taken == decisions_[i].taken) ++run;
    if (!text.empty()) text += '.';
    text += std::to_string(decisions_[i].taken);
    if (run - i > 1) text += 'x' + std::to_string(run - i);
    i = run;
  }
  return text.empty() ? "0" : text;
}

void explorer::parse_choices(const std::string& text) {
  decisions_.clear();
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, '.');) {
    const std::size_t x = part.find('x');
    const auto taken = static_cast<std::uint32_t>(std::stoul(part));
    const std::size_t times = x == std::string::npos ? 1 : std::stoul(part.substr(x + 1));
    decisions_.insert(decisions_.end(), times, decision{0, taken});
  }
}

namespace {

// The ends of a long trace (a livelock's) tell it.
std::string abridged(const std::string& trace) {
  constexpr std::size_t head = 6000, tail = 6000;
  if (trace.size() <= head + tail) return trace;
  const std::size_t cut = trace.find('\n', head), resume = trace.find('\n', trace.size() - tail);
  return trace.substr(0, cut) + "\n  ...\n" + trace.substr(resume + 1);
}

}  // namespace

std::string result::report() const {
  std::ostringstream out;
  out << (name.empty() ? "model" : name) << ": " << executions << " executions (" << merged
      << " merged), " << states << " states, " << steps << " steps"
      << (complete ? ", complete" : "") << '\n';
  if (failed) out << failure << "\nchoices: " << choices << "\ntrace:\n" << abridged(trace);
  return out.str();
}

}  // namespace model
