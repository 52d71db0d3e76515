// The states already explored: fingerprint -> the most preemptions that were left when it was met.
#pragma once

#include <cstdint>
#include <vector>

namespace model {

class state_set {
public:
  /// True if `fingerprint` has been met with at least `budget` left; otherwise notes it.
  bool known(std::uint64_t fingerprint, int budget) {
    if (fingerprint == 0) fingerprint = 1;
    if (size_ * 2 >= slots_.size()) grow();
    slot& s = find(slots_, fingerprint);
    const auto left = static_cast<std::int8_t>(budget);
    if (s.fingerprint == 0) {
      s = {fingerprint, left};
      ++size_;
      return false;
    }
    if (s.budget >= left) return true;
    s.budget = left;
    return false;
  }

  std::uint64_t size() const { return size_; }

private:
  struct slot {
    std::uint64_t fingerprint = 0;  // 0: free
    std::int8_t budget = 0;
  };

  static slot& find(std::vector<slot>& slots, std::uint64_t fingerprint) {
    std::size_t i = fingerprint & (slots.size() - 1);
    while (slots[i].fingerprint != 0 && slots[i].fingerprint != fingerprint)
      i = (i + 1) & (slots.size() - 1);
    return slots[i];
  }

  void grow() {
    std::vector<slot> larger(slots_.empty() ? 1024 : slots_.size() * 2);
    for (const slot& s : slots_)
      if (s.fingerprint != 0) find(larger, s.fingerprint) = s;
    slots_.swap(larger);
  }

  std::vector<slot> slots_;
  std::uint64_t size_ = 0;
};

}  // namespace model
