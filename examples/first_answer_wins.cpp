// Several mirrors are asked at once. The first that answers wins, whoever fails is out, the losers are cancelled and joined; and all of
// that may take two seconds. The mirrors are here too: a slow one, a quick one, and one that is not there.

#include <chrono>
#include <iostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <aramid/aramid.hpp>

using namespace aramid;
using namespace std::chrono_literals;

namespace {

std::string ask(const io::endpoint& mirror) {
  io::tcp_stream stream = io::connect(mirror);
  std::string answer(5, '\0');
  stream.read_exactly(answer);
  return answer;
}

std::string first_answer(const std::vector<io::endpoint>& mirrors) {
  std::vector<fiber<std::string>> asked;
  for (const io::endpoint& mirror : mirrors) {
    asked.push_back(spawn(ask, mirror));
  }
  while (!asked.empty()) {
    const auto first = wait_any(asked);
    try {
      return first->join();  // and `asked` goes: the others are cancelled and joined
    } catch (const std::system_error& failure) {
      std::cout << "one is out: " << failure.what() << '\n';
      asked.erase(first);
    }
  }
  throw std::runtime_error("no mirror has answered");
}

void be_a_mirror(io::tcp_listener& port, const std::string& answer, std::chrono::milliseconds delay) {
  io::tcp_stream peer = port.accept();
  this_fiber::sleep_for(delay);
  peer.write_all(answer);
}

}  // namespace

int main() {
  run([] {
    const io::endpoint any_port("127.0.0.1", 0);
    io::tcp_listener slow(any_port), quick(any_port), gone(any_port);
    const std::vector mirrors{gone.local_endpoint(), slow.local_endpoint(), quick.local_endpoint()};
    gone.close();
    task_group serving(on_error::isolate);
    serving.spawn([&] { be_a_mirror(slow, "slow!", 1h); });
    serving.spawn([&] { be_a_mirror(quick, "quick", 20ms); });
    std::cout << with_timeout(2s, [&] { return first_answer(mirrors); }) << '\n';
  });
}
