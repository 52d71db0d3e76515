// Exceptions and suspension: a fiber may suspend in a catch block, in a destructor during unwinding, and resume on another
// thread; what the C++ runtime keeps per thread follows it.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <aramid/cancel.hpp>
#include <aramid/fiber.hpp>
#include <aramid/mutex.hpp>
#include <aramid/run.hpp>

#include "migrate.hpp"
#include "runtime_fixture.hpp"
#include "scale.hpp"

namespace aramid::test {
namespace {

using namespace std::chrono_literals;

class exception_test : public runtime_test {};

INSTANTIATE_TEST_SUITE_P(workers, exception_test, worker_counts);

__attribute__((noinline)) int uncaught() {
  asm volatile("" ::: "memory");
  return std::uncaught_exceptions();
}

__attribute__((noinline)) std::exception_ptr caught() {
  asm volatile("" ::: "memory");
  return std::current_exception();
}

struct i_am_noise {};

std::string text_of(const std::exception_ptr& error) {
  if (error == nullptr) {
    return "none";
  }
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  }
}

TEST_P(exception_test, a_catch_block_survives_suspension) {
  run([] {
    try {
      throw std::runtime_error("mine");
    } catch (const std::runtime_error& error) {
      spawn([] {
        EXPECT_EQ(caught(), nullptr);  // the catch block is another fiber's
        EXPECT_EQ(uncaught(), 0);
        try {
          throw std::logic_error("yours");
        } catch (...) {
          EXPECT_EQ(text_of(caught()), "yours");
          this_fiber::yield();
          EXPECT_EQ(text_of(caught()), "yours");
        }
        EXPECT_EQ(caught(), nullptr);
      }).join();
      EXPECT_STREQ(error.what(), "mine");
      EXPECT_EQ(text_of(caught()), "mine");
    }
    EXPECT_EQ(caught(), nullptr);
  });
}

TEST_P(exception_test, nested_catch_blocks_survive_migration) {
  run([] {
    std::atomic<bool> stop{false};
    std::vector<fiber<>> noise;
    for (int i = 0; i < 4; ++i) {
      noise.push_back(spawn([&] {
        while (!stop) {
          try {
            throw i_am_noise{};
          } catch (const i_am_noise&) {
            this_fiber::yield();
          }
        }
      }));
    }
    std::vector<fiber<>> fibers;
    for (int i = 0; i < 8; ++i) {
      fibers.push_back(spawn([i] {
        const std::string outer = "outer " + std::to_string(i);
        const std::string inner = "inner " + std::to_string(i);
        for (int round = 0; round < scaled(100, 5); ++round) {
          try {
            throw std::runtime_error(outer);
          } catch (const std::runtime_error& first) {
            migrate(50);
            try {
              throw std::logic_error(inner);
            } catch (const std::logic_error& second) {
              migrate(50);
              ASSERT_EQ(second.what(), inner);
              ASSERT_EQ(text_of(caught()), inner);
            }
            ASSERT_EQ(text_of(caught()), outer);
            migrate(50);
            ASSERT_EQ(first.what(), outer);
          }
          ASSERT_EQ(caught(), nullptr);
          ASSERT_EQ(uncaught(), 0);
        }
      }));
    }
    for (auto& each : fibers) {
      each.join();
    }
    stop = true;
    for (auto& each : noise) {
      each.join();
    }
  });
}

TEST_P(exception_test, rethrow_after_migration) {
  runtime rt(options{.workers = workers()});
  std::atomic<int> migrated{0};
  std::vector<fiber<>> fibers;
  for (int i = 0; i < 6; ++i) {
    fibers.push_back(rt.spawn([&] {
      for (int round = 0; round < scaled(200, 10); ++round) {
        try {
          try {
            throw std::runtime_error("carried");
          } catch (const std::runtime_error&) {
            migrated += migrate(200) ? 1 : 0;
            throw;
          }
        } catch (const std::runtime_error& error) {
          migrated += migrate(200) ? 1 : 0;
          ASSERT_STREQ(error.what(), "carried");
        }
      }
    }));
  }
  for (auto& each : fibers) {
    each.join();
  }
  if (workers() > 1) {
    EXPECT_GT(migrated, 0) << "nothing was tested";
    EXPECT_GT(rt.stats().migrations, 0U);
  }
}

TEST_P(exception_test, suspends_in_a_destructor_while_unwinding) {
  struct suspends {
    int depth;
    bool& threw;
    ~suspends() {
      EXPECT_EQ(uncaught(), depth);
      try {
        migrate(100);
        this_fiber::sleep_for(1us);
      } catch (...) {
        threw = true;
      }
      EXPECT_EQ(uncaught(), depth);
      // A whole exception of its own, thrown and caught while the other is in flight.
      try {
        throw std::logic_error("inside");
      } catch (const std::logic_error&) {
        migrate(50);
        EXPECT_EQ(uncaught(), depth);
      }
    }
  };
  run([] {
    std::vector<fiber<>> fibers;
    for (int i = 0; i < 8; ++i) {
      fibers.push_back(spawn([] {
        for (int round = 0; round < scaled(100, 5); ++round) {
          bool threw = false;
          try {
            const suspends a{1, threw};
            const suspends b{1, threw};
            throw std::runtime_error("in flight");
          } catch (const std::runtime_error& error) {
            ASSERT_STREQ(error.what(), "in flight");
          }
          { const suspends c{0, threw}; }
          ASSERT_FALSE(threw);
          ASSERT_EQ(uncaught(), 0);
        }
      }));
    }
    for (auto& each : fibers) {
      each.join();
    }
  });
}

TEST_P(exception_test, a_cancelled_fiber_unwinds_through_suspending_destructors) {
  struct suspends {
    std::atomic<int>& count;
    ~suspends() {
      migrate(20);
      this_fiber::sleep_for(1us);
      const auto child = spawn([] { return 1; }).join();
      count += child;
    }
  };
  run([] {
    for (int round = 0; round < scaled(100, 10); ++round) {
      std::atomic<int> count{0};
      std::atomic<int> waiting{0};
      std::vector<fiber<>> fibers;
      for (int i = 0; i < 8; ++i) {
        fibers.push_back(spawn([&] {
          const suspends a{count};
          const suspends b{count};
          ++waiting;
          sleep_until_cancelled();
        }));
      }
      ASSERT_TRUE(eventually([&] { return waiting == 8; }));
      for (auto& each : fibers) {
        each.cancel();
      }
      for (auto& each : fibers) {
        ASSERT_THROW(each.join(), fiber_cancelled);
      }
      ASSERT_EQ(count, 16);
    }
  });
}

TEST_P(exception_test, many_fibers_interleave_in_their_catch_blocks) {
  run([] {
    constexpr int count = 32;
    std::vector<fiber<>> fibers;
    mutex lock;  // wakes them across workers
    for (int i = 0; i < count; ++i) {
      fibers.push_back(spawn([&lock, i] {
        for (int round = 0; round < scaled(300, 10); ++round) {
          try {
            throw i * 1000 + round;
          } catch (const int& mine) {
            {
              const std::lock_guard guard(lock);
              this_fiber::yield();
            }
            ASSERT_EQ(mine, i * 1000 + round);
            try {
              throw;
            } catch (const int& again) {
              this_fiber::yield();
              ASSERT_EQ(&again, &mine);
            }
          }
        }
      }));
    }
    for (auto& each : fibers) {
      each.join();
    }
  });
}

TEST_P(exception_test, an_exception_ptr_travels_between_fibers_and_threads) {
  runtime rt(options{.workers = workers()});
  for (int i = 0; i < scaled(1000, 30); ++i) {
    auto failing = rt.spawn([i] {
      auto inner = spawn([i] { throw std::runtime_error(std::to_string(i)); });
      inner.join();
    });
    try {
      failing.join();
      ADD_FAILURE();
    } catch (const std::runtime_error& error) {
      ASSERT_EQ(error.what(), std::to_string(i));
    }
  }
}

TEST_P(exception_test, a_fiber_that_starts_where_another_is_unwinding_starts_clean) {
  struct spawns {
    ~spawns() {
      EXPECT_EQ(uncaught(), 1);
      spawn([] {
        EXPECT_EQ(uncaught(), 0);
        EXPECT_EQ(caught(), nullptr);
        auto throwing = spawn([] { throw 5; });
        EXPECT_THROW(throwing.join(), int);
      }).join();
      EXPECT_EQ(uncaught(), 1);
    }
  };
  run([] {
    for (int i = 0; i < scaled(300, 20); ++i) {
      try {
        const spawns on_exit;
        throw std::runtime_error("in flight");
      } catch (const std::runtime_error&) {
        ASSERT_EQ(uncaught(), 0);
      }
    }
  });
}

}  // namespace
}  // namespace aramid::test
