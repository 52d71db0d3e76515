// What tests/gdb/gdb.cmake looks at: fibers in every state, when the program stops itself.
#include <atomic>
#include <csignal>

#include <aramid/channel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/run.hpp>

__attribute__((noinline)) int function_that_waits(aramid::channel<int>& from) {
  const int got = from.receive().value_or(-1);
  asm volatile("" ::: "memory");
  return got;
}

__attribute__((noinline)) void function_that_runs() {
  std::raise(SIGTRAP);
  asm volatile("" ::: "memory");
}

int main() {
  aramid::run(
      [] {
        aramid::channel<int> numbers;
        auto waits = aramid::spawn(aramid::fiber_options{.name = "waits"}, [&] { function_that_waits(numbers); });
        while (aramid::this_fiber::yield(), aramid::stats().switches < 100) {
        }
        auto late = aramid::spawn(aramid::fiber_options{.name = "late"}, [] {});
        function_that_runs();
        numbers.close();
        waits.join();
        late.join();
      },
      {.workers = 1});
}
