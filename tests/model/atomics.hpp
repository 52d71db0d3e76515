// The model's side of the Atomics policy: the same shape as the runtime's std_atomics, every operation a call into the
// explorer. Code under test is a template over the policy; here it runs with `model::atomics`.
#pragma once

#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

#include "explorer.hpp"

namespace model {

template <class T>
word to_word(const T& value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(word));
  word w;
  std::memcpy(static_cast<void*>(&w), &value, sizeof(T));
  return w;
}

template <class T>
T from_word(const word& w) {
  std::remove_const_t<T> value;
  std::memcpy(static_cast<void*>(&value), &w, sizeof(T));
  return value;
}

/// How a trace shows a value.
template <class T>
std::string format_word(word w) {
  if constexpr (std::is_same_v<T, bool>) {
    return w.low != 0 ? "true" : "false";
  } else if constexpr (std::is_enum_v<T>) {
    return format_word<std::underlying_type_t<T>>(w);
  } else if constexpr (std::is_integral_v<T>) {
    const T value = from_word<T>(w);
    char text[48];
    if (static_cast<std::make_unsigned_t<T>>(value) > 0xffff && value > T{0})
      std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    else
      std::snprintf(text, sizeof text, "%lld", static_cast<long long>(value));
    return text;
  } else {
    char text[48];
    if (w.high != 0)
      std::snprintf(text, sizeof text, "0x%llx:%llx", static_cast<unsigned long long>(w.high),
                    static_cast<unsigned long long>(w.low));
    else
      std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(w.low));
    return text;
  }
}

/// std::atomic's operations on the model's memory.
template <class T>
class atomic {
public:
  using value_type = T;

  atomic() noexcept : atomic(T{}) {}
  atomic(T initial) noexcept  // NOLINT: implicit, as std::atomic's
      : id_(explorer::current().create(this, to_word(initial), &format_word<T>)) {}
  ~atomic() { explorer::current().destroy(id_, this); }
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  static constexpr bool is_always_lock_free = true;

  T load(std::memory_order order = std::memory_order_seq_cst,
         call_site s = call_site::here()) const noexcept {
    return from_word<T>(explorer::current().load(id_, this, order, s));
  }
  void store(T value, std::memory_order order = std::memory_order_seq_cst,
             call_site s = call_site::here()) noexcept {
    explorer::current().store(id_, this, to_word(value), order, s);
  }
  T exchange(T value, std::memory_order order = std::memory_order_seq_cst,
             call_site s = call_site::here()) noexcept {
    return update<&assign>(value, order, s);
  }
  T fetch_add(T value, std::memory_order order = std::memory_order_seq_cst,
              call_site s = call_site::here()) noexcept {
    return update<&add>(value, order, s);
  }
  T fetch_sub(T value, std::memory_order order = std::memory_order_seq_cst,
              call_site s = call_site::here()) noexcept {
    return update<&subtract>(value, order, s);
  }
  T fetch_or(T value, std::memory_order order = std::memory_order_seq_cst,
             call_site s = call_site::here()) noexcept {
    return update<&unite>(value, order, s);
  }
  T fetch_and(T value, std::memory_order order = std::memory_order_seq_cst,
              call_site s = call_site::here()) noexcept {
    return update<&intersect>(value, order, s);
  }
  T fetch_xor(T value, std::memory_order order = std::memory_order_seq_cst,
              call_site s = call_site::here()) noexcept {
    return update<&differ>(value, order, s);
  }

  bool compare_exchange_strong(T& expected, T desired, std::memory_order success,
                               std::memory_order failure,
                               call_site s = call_site::here()) noexcept {
    return compare_exchange(expected, desired, false, success, failure, s);
  }
  bool compare_exchange_strong(T& expected, T desired,
                               std::memory_order order = std::memory_order_seq_cst,
                               call_site s = call_site::here()) noexcept {
    return compare_exchange(expected, desired, false, order, failure_order(order), s);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success,
                             std::memory_order failure, call_site s = call_site::here()) noexcept {
    return compare_exchange(expected, desired, true, success, failure, s);
  }
  bool compare_exchange_weak(T& expected, T desired,
                             std::memory_order order = std::memory_order_seq_cst,
                             call_site s = call_site::here()) noexcept {
    return compare_exchange(expected, desired, true, order, failure_order(order), s);
  }

  /// The name that traces use.
  atomic& named(std::string name) {
    const heap::untracked scope;
    explorer::current().name(id_, std::move(name));
    return *this;
  }
  location_id id() const { return id_; }

private:
  static T assign(T, T b) { return b; }
  static T add(T a, T b) { return static_cast<T>(a + b); }
  static T subtract(T a, T b) { return static_cast<T>(a - b); }
  static T unite(T a, T b) { return static_cast<T>(a | b); }
  static T intersect(T a, T b) { return static_cast<T>(a & b); }
  static T differ(T a, T b) { return static_cast<T>(a ^ b); }

  static std::memory_order failure_order(std::memory_order order) {
    if (order == std::memory_order_acq_rel) return std::memory_order_acquire;
    if (order == std::memory_order_release) return std::memory_order_relaxed;
    return order;
  }

  template <T (*Update)(T, T)>
  T update(T value, std::memory_order order, call_site s) noexcept {
    const auto apply = [](word old, const void* argument) {
      return to_word<T>(Update(from_word<T>(old), *static_cast<const T*>(argument)));
    };
    return from_word<T>(explorer::current().rmw(id_, this, apply, &value, order, s));
  }

  bool compare_exchange(T& expected, T desired, bool weak, std::memory_order success,
                        std::memory_order failure, call_site s) noexcept {
    word old = to_word(expected);
    const bool done = explorer::current().compare_exchange(id_, this, old, to_word(desired), weak,
                                                           success, failure, s);
    if (!done) expected = from_word<T>(old);
    return done;
  }

  location_id id_;
};

/// A cell that is not atomic: conflicting accesses must be ordered by happens-before.
template <class T>
class plain {
public:
  plain() : plain(T{}) {}
  plain(T initial)  // NOLINT: implicit, as plain_cell's
      : value_(std::move(initial)), id_(explorer::current().create_plain(this)) {}
  ~plain() { explorer::current().destroy_plain(id_, this); }
  plain(const plain&) = delete;
  plain& operator=(const plain&) = delete;

  const T& read(call_site s = call_site::here()) const noexcept {
    explorer::current().read_plain(id_, this, s);
    return value_;
  }
  void write(T value, call_site s = call_site::here()) noexcept {
    explorer::current().write_plain(id_, this, s);
    value_ = std::move(value);
  }

private:
  T value_;
  location_id id_;
};

/// The policy.
struct atomics {
  template <class T>
  using atomic = model::atomic<T>;
  template <class T>
  using plain = model::plain<T>;

  static void fence(std::memory_order order, call_site s = call_site::here()) noexcept {
    explorer::current().fence(order, s);
  }
  static void light_fence(call_site s = call_site::here()) noexcept {
    explorer::current().light_fence(s);
  }
  static void heavy_fence(call_site s = call_site::here()) noexcept {
    explorer::current().heavy_fence(s);
  }
  static bool light_fences_are_free() noexcept { return true; }
  static void free_fence(call_site s = call_site::here()) noexcept { light_fence(s); }
  static void pause() noexcept { explorer::current().pause(); }
  static void yield() noexcept { explorer::current().pause(); }
  static constexpr int patience = 1;
};

}  // namespace model
