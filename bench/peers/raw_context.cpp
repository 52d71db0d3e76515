// The floors: what Boost.Context's switch costs by itself, in a ring of contexts with nothing around it.
#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "../bench_support.hpp"

namespace aramid::bench {
namespace {

namespace context = boost::context::detail;

/// Stacks side by side, only touched pages of which cost memory: as ours lie, without the guards.
class stacks {
public:
  static constexpr std::size_t size_bytes = std::size_t{256} * 1024;

  explicit stacks(std::size_t count) : total_bytes_(count * size_bytes) {
    base_ = ::mmap(nullptr, total_bytes_, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base_ == MAP_FAILED) {
      throw std::system_error(errno, std::generic_category(), "mmap");
    }
    ::madvise(base_, total_bytes_, MADV_NOHUGEPAGE);
    for (std::size_t i = 0; i < count; ++i) {
      free_.push_back(static_cast<char*>(base_) + (i + 1) * size_bytes);
    }
  }
  ~stacks() { ::munmap(base_, total_bytes_); }
  stacks(const stacks&) = delete;
  stacks& operator=(const stacks&) = delete;

  void* take() {
    void* const top = free_.back();
    free_.pop_back();
    return top;
  }
  void give_back(void* top) { free_.push_back(top); }

private:
  std::size_t total_bytes_;
  void* base_ = nullptr;
  std::vector<void*> free_;
};

/// Contexts that resume each other in a circle; the caller is the first of them.
struct ring {
  std::vector<context::fcontext_t> members;
  std::size_t current = 0;

  void next() {
    const std::size_t from = current;
    current = from + 1 == members.size() ? 0 : from + 1;
    const std::size_t to = current;
    const context::transfer_t arrived = context::jump_fcontext(members[to], this);
    store(arrived.fctx);
  }
  /// Who has just switched to the current member is the one before it.
  void store(context::fcontext_t previous) {
    members[current == 0 ? members.size() - 1 : current - 1] = previous;
  }
};

void yield(benchmark::State& state, std::size_t contexts) {
  stacks memory(contexts);
  ring all;
  all.members.resize(contexts);
  for (std::size_t i = 1; i < contexts; ++i) {
    all.members[i] =
        context::make_fcontext(memory.take(), stacks::size_bytes, [](context::transfer_t arrived) {
          auto* const self = static_cast<ring*>(arrived.data);
          self->store(arrived.fctx);
          for (;;) {  // dropped with its stack
            self->next();
          }
        });
  }
  all.next();  // all have touched their stacks now
  repeat(
      state, [&] { all.next(); }, static_cast<std::int64_t>(contexts));
}

/// Runs `fn` on a stack of its own and returns when it has ended: the least that spawn and join can be.
template <class Fn>
void call_on_stack(stacks& memory, Fn& fn) {
  void* const top = memory.take();
  const context::fcontext_t made =
      context::make_fcontext(top, stacks::size_bytes, [](context::transfer_t arrived) {
        (*static_cast<Fn*>(arrived.data))();
        context::jump_fcontext(arrived.fctx, nullptr);
      });
  context::jump_fcontext(made, &fn);
  memory.give_back(top);
}

void spawn_join(benchmark::State& state) {
  stacks memory(1);
  long sum = 0;
  auto body = [&] { ++sum; };
  repeat(state, [&] { call_on_stack(memory, body); });
  benchmark::DoNotOptimize(sum);
}

long skynet(stacks& memory, long first, long size) {
  if (size == 1) {
    return first;
  }
  const long part = size / 10;
  long sum = 0;
  for (long i = 0; i < 10; ++i) {
    auto child = [&] { sum += skynet(memory, first + i * part, part); };
    call_on_stack(memory, child);
  }
  return sum;
}

void whole_skynet(benchmark::State& state) {
  constexpr long leaves = 1'000'000;
  stacks memory(8);
  for (auto _ : state) {
    if (skynet(memory, 0, leaves) != leaves * (leaves - 1) / 2) {
      throw std::logic_error("skynet: wrong sum");
    }
  }
}

const auto* const yield_2 = add("yield/raw_context", [](benchmark::State& s) { yield(s, 2); });
const auto* const yield_512 =
    add("yield/raw_context/512", [](benchmark::State& s) { yield(s, 512); });
const auto* const yield_32k =
    add("yield/raw_context/32768", [](benchmark::State& s) { yield(s, 32768); });
const auto* const one_life = add("spawn_join/raw_context", spawn_join);
const auto* const tree = add("skynet/raw_context/1", whole_skynet) -> Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace aramid::bench
