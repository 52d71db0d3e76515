// The smallest program: some fibers, and what they return.

#include <iostream>
#include <string>
#include <vector>

#include <aramid/aramid.hpp>

using namespace aramid;

int main() {
  run([] {
    std::vector<fiber<std::string>> greetings;
    for (const char* name : {"gevent", "asyncio", "trio", "Go"}) {
      greetings.push_back(spawn([name] {
        this_fiber::yield();  // the others get a turn
        return "hello, " + std::string(name);
      }));
    }
    for (auto& greeting : greetings) {
      std::cout << greeting.join() << '\n';
    }
  });
}
