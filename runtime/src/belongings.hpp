// What a fiber or a thread keeps for the code that runs on it: the values of its fiber_locals, what its context_vars are bound to, and
// the source of its stop_token. Made as it is needed, and gone when the fiber has ended.
//
// The waiter alone touches them, but for the stop source: its cancellers read that under its chain lock, and ask it to stop when they
// have let go of every lock, because whoever listens may do what he likes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <utility>
#include <vector>

#include <aramid/detail/context_node.hpp>
#include <aramid/detail/local_key.hpp>

#include "waiter.hpp"

namespace aramid::inline v0::detail {

class local_table {
public:
  [[nodiscard]] bool empty() const noexcept { return alive_ == 0; }
  [[nodiscard]] void* find(const local_key& key) const noexcept;
  void keep(const local_key& key, void* value, destroy_local destroy);
  void drop(const local_key& key) noexcept;
  void drop_newest() noexcept;

private:
  struct entry {
    variable_id of = 0;  // 0: no value
    void* value = nullptr;
    destroy_local destroy = nullptr;
    std::size_t age = 0;  // how many had been made before
  };

  void drop(entry& gone) noexcept;

  std::vector<entry> entries_;  // by the places of their keys
  std::size_t alive_ = 0;
  std::size_t made_ = 0;
};

/// A stop source, and its place in a list of those that are to be asked.
struct stop_node {
  std::stop_source source;
  std::atomic<bool> asked{false};  // release, when everybody who listens has been called
  // Written by the one who cancels its fiber first.
  std::shared_ptr<stop_node> next;
  waiter* claimed = nullptr;  // the fiber, if it stands still until it is told
};

/// Asks its members to stop when it is destroyed, after the locks that were taken later; then it lets their fibers go on. One that has not
/// stood still waits for that before it throws `cancelled` (waiter::must_throw). So whoever listens has been called by then.
class stop_list {
public:
  stop_list() noexcept = default;
  stop_list(const stop_list&) = delete;
  stop_list& operator=(const stop_list&) = delete;
  ~stop_list() {
    if (first_ != nullptr) {
      ask();
    }
  }

  void add(std::shared_ptr<stop_node> node, waiter* claimed) noexcept {
    node->claimed = claimed;
    node->next = std::move(first_);
    first_ = std::move(node);
  }

private:
  void ask() noexcept;

  std::shared_ptr<stop_node> first_;
};

struct belongings {
  const context_node* context = nullptr;  // a reference
  std::unique_ptr<local_table> locals;
  std::shared_ptr<stop_node> stop;  // written by the waiter under its chain lock
  bool asks = false;                // it is calling those who listen to others, or to itself

  /// Every fiber is asked at its end: one branch.
  [[nodiscard]] bool any() const noexcept {
    return (reinterpret_cast<std::uintptr_t>(context) | reinterpret_cast<std::uintptr_t>(locals.get()) |
            reinterpret_cast<std::uintptr_t>(stop.get())) != 0;
  }

  enum class bindings : bool { stay, go };

  /// Destroys the values that are its own, and with `bindings::go` lets go of those that it sees. Their destructors may make others: those go too.
  void drop_values(bindings theirs) noexcept;
  void drop_context() noexcept;
};

/// A thread's own waiter.
class thread_waiter : public waiter, public belongings {
public:
  thread_waiter() noexcept : waiter(kind::thread) {}
};

[[nodiscard]] belongings& belongings_of(waiter& who) noexcept;

/// One more reference to `node`, which may be null.
[[nodiscard]] const context_node* share(const context_node* node) noexcept;

}  // namespace aramid::inline v0::detail
