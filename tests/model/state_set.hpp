// The states already explored: fingerprint -> the most preemptions that were left when it was met.
#pragma once

#include <cstdint>
#include <vector>

namespace model {

class state_set {
public:
  /// True if `fingerprint` has been met with at least `budget` left; otherwise notes it. A budget is below 255.
  bool known(std::uint64_t fingerprint, int budget) {
    if (size_ * 2 >= slots_.size()) grow();
    std::uint64_t& slot = find(slots_, fingerprint);
    const std::uint64_t noted = (fingerprint & ~budget_mask) | static_cast<std::uint64_t>(budget + 1);
    if (slot == 0) {
      slot = noted;
      ++size_;
      return false;
    }
    if (slot >= noted) return true;
    slot = noted;
    return false;
  }

  std::uint64_t size() const { return size_; }

private:
  // A slot is 0 (free), or a fingerprint without its last byte, which is the budget + 1. 56 bits take two of five million states for one
  // with a chance of 1 in 5,000.
  static constexpr std::uint64_t budget_mask = 0xff;

  static std::uint64_t& find(std::vector<std::uint64_t>& slots, std::uint64_t fingerprint) {
    std::size_t i = (fingerprint >> 8) & (slots.size() - 1);
    while (slots[i] != 0 && ((slots[i] ^ fingerprint) & ~budget_mask) != 0)
      i = (i + 1) & (slots.size() - 1);
    return slots[i];
  }

  void grow() {
    std::vector<std::uint64_t> larger(slots_.empty() ? 1024 : slots_.size() * 2);
    for (const std::uint64_t s : slots_)
      if (s != 0) find(larger, s) = s;
    slots_.swap(larger);
  }

  std::vector<std::uint64_t> slots_;
  std::uint64_t size_ = 0;
};

}  // namespace model
