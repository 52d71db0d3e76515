// The chance in the programs beside it: each actor has dice of its own, made from its maker's, so that a seed makes all the choices.
#pragma once

#include <chrono>
#include <cstdint>
#include <random>

class dice {
public:
  explicit dice(std::uint64_t seed) : engine_(seed) {}
  int below(int limit) { return static_cast<int>(engine_() % static_cast<std::uint64_t>(limit)); }
  std::uint64_t seed() { return engine_(); }
  std::chrono::microseconds a_while() { return std::chrono::microseconds(below(300)); }

private:
  std::mt19937_64 engine_;
};
