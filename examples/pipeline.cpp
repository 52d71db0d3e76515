// Three stages joined by channels: one fiber reads words, three measure them, one adds up. Each stage ends when the one before it has,
// because a channel closes with its last sender; one that is too fast waits while the next one's buffer is full; if one fails, all end.

#include <cstddef>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <aramid/aramid.hpp>

using namespace aramid;

namespace {

void read(const std::vector<std::string>& text, const sender<std::string>& words) {
  for (const std::string& word : text) {
    words.send(word);  // waits while there are eight
  }
}

void measure(const receiver<std::string>& words, const sender<std::size_t>& lengths) {
  for (const std::string& word : words) {
    if (word.empty()) {
      throw std::invalid_argument("an empty word");
    }
    lengths.send(word.size());
  }
}

std::size_t letters_of(const std::vector<std::string>& text) {
  return with_task_group([&](task_group& stages) {
    auto [words_in, words_out] = make_channel<std::string>(8);
    auto [lengths_in, lengths_out] = make_channel<std::size_t>(8);
    stages.spawn(read, text, std::move(words_in));
    for (int i = 0; i < 3; ++i) {
      stages.spawn(measure, words_out, lengths_in);  // a copy is another end
    }
    words_out.reset();  // the stages have theirs
    lengths_in.reset();
    std::size_t sum = 0;
    for (std::size_t length : lengths_out) {
      sum += length;
    }
    return sum;
  });
}

}  // namespace

int main() {
  run([] {
    std::cout << letters_of({"many", "small", "fibers"}) << " letters\n";
    try {
      letters_of({"many", "", "fibers"});
    } catch (const std::exception& failure) {  // what one stage threw; the others have been cancelled and joined
      std::cout << "not counted: " << failure.what() << '\n';
    }
  });
}
