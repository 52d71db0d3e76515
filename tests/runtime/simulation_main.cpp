// simulation_tests [--seed N | --seeds N] [GoogleTest's options]
#include <gtest/gtest.h>

#include <cstdint>

#include <CLI/CLI.hpp>

#include "seeds.hpp"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  CLI::App app{"Steps whole runtimes on one thread, under a virtual clock and in an order that a seed decides."};
  std::uint64_t seed = 0;
  std::uint64_t seeds = 0;
  auto* const one = app.add_option("--seed", seed, "Only this one, to replay it")->check(CLI::PositiveNumber);
  auto* const many = app.add_option("--seeds", seeds, "From 1 to this one, for a night's run")->check(CLI::PositiveNumber)->excludes(one);
  CLI11_PARSE(app, argc, argv);
  if (*one) {
    aramid::test::seeds_asked_for = {seed, seed};
  } else if (*many) {
    aramid::test::seeds_asked_for = {1, seeds};
  }
  return RUN_ALL_TESTS();
}
