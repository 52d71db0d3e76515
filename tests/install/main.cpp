// A program of somebody who uses aramid: it sees the public headers and nothing else.
#include <cstdio>

#include <aramid/aramid.hpp>

int main() {
  const int answer = aramid::run([] {
    auto fiber = aramid::spawn([] { return 42; });
    return fiber.join();
  });
  const auto version = aramid::version_string();
  std::printf("aramid %.*s answers %d\n", static_cast<int>(version.size()), version.data(), answer);
  return answer == 42 ? 0 : 1;
}
