// What the tests of the queues put through them: items that notice being lost, doubled, or handed over without order.
#pragma once

#include <array>
#include <cstddef>

#include "litmus.hpp"

namespace model {

/// An item's content is plain memory: written before it is pushed, read and written by its taker. Two takers race on
/// it, and so do a taker and a producer whose push did not publish it.
struct item {
  model::plain<int> content{0};

  void prepare() { content.write(1); }
  void use() {
    MODEL_ASSERT(content.read() == 1);  // else: taken before, or not prepared
    content.write(2);
  }
  [[nodiscard]] bool used() const { return content.read() == 2; }
};

/// The items of one execution. All have to be used once by its end.
template <std::size_t Count>
class item_set {
public:
  item* prepared(std::size_t index) {
    items_[index].prepare();
    return &items_[index];
  }
  void expect_all_used() const {
    for (const item& one : items_) MODEL_ASSERT(one.used());
  }

private:
  std::array<item, Count> items_;
};

/// Uses what a take returned, if it returned anything.
inline bool use(item* taken) {
  if (taken != nullptr) taken->use();
  return taken != nullptr;
}

}  // namespace model
