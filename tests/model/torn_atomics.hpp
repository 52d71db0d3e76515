// Broken twins by policy: atomics whose read-modify-writes are torn into a load and a store. A lock-free part that is right
// because of an atomic step has to fail with these.
#pragma once

#include "atomics.hpp"

namespace model {

enum class torn : unsigned { strong = 1, weak = 2, exchange = 4 };

template <torn What>
struct torn_atomics : atomics {
  template <class T>
  struct atomic : model::atomic<T> {
    using model::atomic<T>::atomic;

    bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                                 std::memory_order failure,
                                 call_site s = call_site::here()) noexcept {
      if constexpr (What == torn::strong) return tear(expected, desired, success, s);
      return model::atomic<T>::compare_exchange_strong(expected, desired, success, failure, s);
    }
    bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                               std::memory_order failure,
                               call_site s = call_site::here()) noexcept {
      if constexpr (What == torn::weak) return tear(expected, desired, success, s);
      return model::atomic<T>::compare_exchange_weak(expected, desired, success, failure, s);
    }
    T exchange(T desired, std::memory_order order, call_site s = call_site::here()) noexcept {
      if constexpr (What != torn::exchange)
        return model::atomic<T>::exchange(desired, order, s);
      else {
        const T old = this->load(std::memory_order_seq_cst, s);
        this->store(desired, std::memory_order_seq_cst, s);
        return old;
      }
    }

  private:
    bool tear(T& expected, T desired, std::memory_order, call_site s) noexcept {
      const T old = this->load(std::memory_order_seq_cst, s);
      if (old != expected) {
        expected = old;
        return false;
      }
      this->store(desired, std::memory_order_seq_cst, s);
      return true;
    }
  };
};

}  // namespace model
