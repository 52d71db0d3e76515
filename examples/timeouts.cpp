// Deadlines around any code that waits, and what they leave intact.

#include <chrono>
#include <iostream>

#include <aramid/aramid.hpp>

using namespace aramid;
using namespace std::chrono_literals;

int main() {
  run([] {
    // One that throws.
    try {
      with_timeout(10ms, [] { this_fiber::sleep_for(1h); });
    } catch (const timeout_error& late) {
      std::cout << "slept long enough: " << late.what() << '\n';
    }

    // One that says so, and loses nothing: the item comes later, and is there.
    channel<int> numbers(1);
    auto nothing_yet = try_with_timeout(10ms, [&] { return numbers.receive(); });
    numbers.send(42);
    std::cout << (nothing_yet ? "early" : "nothing yet") << ", then " << *numbers.receive() << '\n';

    // Nested: the outer one expires first, and it is the outer one that is reported.
    const bool in_time = try_with_timeout(10ms, [] {
      with_timeout(1h, [] { this_fiber::sleep_for(2h); });
    });
    std::cout << (in_time ? "in time" : "the outer deadline came first") << '\n';

    // A fiber that is given up on is cancelled, and joined, when its handle goes.
    auto slow = spawn([] { this_fiber::sleep_for(1h); });
    std::cout << (slow.join_for(10ms) ? "done" : "not waiting any longer") << '\n';
  });
}
