// descriptor_word.hpp: nobody uses the number of a descriptor that is closed, who waits for users is woken by the last of them, and what one reader or
// writer leaves behind is seen by whom it is for.
#include "io/src/descriptor_word.hpp"

#include "litmus.hpp"

namespace {

using namespace model;
using word = aramid::detail::descriptor_word<atomics>;

/// What a broken twin does otherwise.
struct twin {
  bool enters = true;                  // Use 1
  bool heeds_a_refusal = true;         // Use 1
  bool wakes = true;                   // Use 2
  bool publishes_before_asking = true; // Close 3, Writer 1
  bool waits = true;                   // Close 3
};

class system {
public:
  explicit system(twin which = {}) : twin_(which) {}

  // descriptor_user's constructor and destructor, and a call in between
  void use(std::uint64_t mark = word::one_user) {
    if (twin_.enters && word_.enter(mark) != word::refusal::none && twin_.heeds_a_refusal) return;
    MODEL_ASSERT(number_.read() == 1);
    if (mark == word::one_reader) unread_.write(unread_.read() + 1);
    if (twin_.enters) leave(mark);
  }

  /// One that is told by the kernel what broke the connection.
  void write() {
    if (word_.enter(word::one_writer) != word::refusal::none) return;
    kernel_.lock();
    has_told_ = true;
    kernel_.unlock();
    note_.write(1);
    leave(word::one_writer);
  }

  /// One that then meets the end of the stream, and has to know.
  void read_to_the_end() {
    if (word_.enter(word::one_reader) != word::refusal::none) return;
    kernel_.lock();
    const bool writer_was_told = has_told_;
    kernel_.unlock();
    if (word_.has_writer() && twin_.waits) {
      if (twin_.publishes_before_asking) reader_.write(1);
      if (word_.must_wait_for_writer()) {
        if (!twin_.publishes_before_asking) reader_.write(1);
        told_reader_.wait();
      }
    }
    if (writer_was_told) MODEL_ASSERT(note_.read() == 1);
    leave(word::one_reader);
  }

  // descriptor::close
  void close() {
    const word::close_begun begun = word_.begin_close();
    if (!begun.is_first) return;
    if (begun.has_users && twin_.waits) {
      if (twin_.publishes_before_asking) closer_.write(1);
      if (word_.must_wait_for_users()) {
        if (!twin_.publishes_before_asking) closer_.write(1);
        told_closer_.wait();
      }
    }
    number_.write(0);
  }

  // descriptor::release
  void release() {
    if (word_.close_unused() == word::refusal::none) number_.write(0);
  }

private:
  void leave(std::uint64_t mark) {
    const word::waiter whom = word_.leave(mark);
    if (!twin_.wakes) return;
    if (whom == word::waiter::reader) {
      MODEL_ASSERT(reader_.read() == 1);
      told_reader_.signal();
    } else if (whom == word::waiter::closer) {
      MODEL_ASSERT(closer_.read() == 1);
      told_closer_.signal();
    }
  }

  const twin twin_;
  word word_;
  plain<int> number_{1}, unread_{0}, note_{0};
  plain<int> reader_{0}, closer_{0};  // tokens
  model::mutex kernel_;
  bool has_told_ = false;  // under the kernel's lock
  model::event told_reader_, told_closer_;
};

void users_and_closer(twin which) {
  system all(which);
  parallel([&] { all.use(), all.use(); }, [&] { all.use(); }, [&] { all.close(); });
}

void two_closers() {
  system all;
  parallel([&] { all.use(); }, [&] { all.close(); }, [&] { all.close(); });
}

void readers_and_closer() {
  system all;
  parallel([&] { all.use(word::one_reader); }, [&] { all.use(word::one_reader); }, [&] { all.close(); });
}

void one_reader_after_the_other() {
  system all;
  parallel([&] { all.use(word::one_reader), all.use(word::one_reader); }, [&] { all.use(word::one_reader), all.use(word::one_reader); });
}

void reader_and_writer(twin which) {
  system all(which);
  parallel([&] { all.read_to_the_end(); }, [&] { all.write(); });
}

void reader_writer_and_closer() {
  system all;
  parallel([&] { all.read_to_the_end(); }, [&] { all.write(); }, [&] { all.close(); });
}

void release_and_close() {
  system all;
  parallel([&] { all.use(); }, [&] { all.release(); }, [&] { all.close(); });
}

const std::vector<scenario> scenarios{
    {"users and closer", [] { users_and_closer({}); }, 3},
    {"two closers", two_closers, 3},
    {"readers and closer", readers_and_closer, 3},
    {"one reader after the other", one_reader_after_the_other, 3},
    {"reader and writer", [] { reader_and_writer({}); }, 3},
    {"reader, writer and closer", reader_writer_and_closer, 3},
    {"release and close", release_and_close, 3},
};

TEST(descriptor_word, nobody_uses_a_closed_number_and_nobody_waits_for_ever) {
  expect_holds_with_the_weakest_orders(scenarios, {"io/src/descriptor_word"});
}

TEST(descriptor_word, neither_does_a_machine_that_loads_late) {
  for (const scenario& s : scenarios) expect_holds({s.name, s.body, s.preemptions - 2}, {.load_buffering = true});
}

TEST(descriptor_word, every_step_is_needed) {
  expect_caught([] { users_and_closer({.enters = false}); }, "race");
  expect_caught([] { users_and_closer({.heeds_a_refusal = false}); });
  expect_caught([] { users_and_closer({.wakes = false}); }, "deadlock");
  expect_caught([] { users_and_closer({.publishes_before_asking = false}); });
  expect_caught([] { users_and_closer({.waits = false}); }, "race");
  expect_caught([] { reader_and_writer({.wakes = false}); }, "deadlock");
  expect_caught([] { reader_and_writer({.publishes_before_asking = false}); });
  expect_caught([] { reader_and_writer({.waits = false}); });
}

}  // namespace
