// A plain thread and fibers talk through the same channels: here a thread feeds three fibers and collects their answers.

#include <iostream>
#include <thread>

#include <aramid/aramid.hpp>

using namespace aramid;

int main() {
  channel<int> questions(8);
  channel<int> answers;  // capacity 0: a hand-over

  std::thread asker([&] {  // no fiber: its waits block this thread, and nothing else
    for (int n = 1; n <= 100; ++n) {
      questions.send(n);
    }
    questions.close();
  });
  std::thread collector([&] {
    int sum = 0;
    for (int answer : answers) {
      sum += answer;
    }
    std::cout << "the squares of 1 to 100 add up to " << sum << '\n';
  });

  run([&] {
    with_task_group([&](task_group& group) {
      for (int i = 0; i < 3; ++i) {
        group.spawn([&] {
          for (int question : questions) {
            answers.send(question * question);
          }
        });
      }
    });  // all three have ended
    answers.close();
  });
  asker.join();
  collector.join();
}
