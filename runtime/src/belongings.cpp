#include "belongings.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <utility>

#include <aramid/detail/spin_lock.hpp>

#include "fiber_control.hpp"
#include "forks.hpp"
#include "thread_state.hpp"

namespace aramid::inline v0::detail {

// --- what is bound ---------------------------------------------------------------------------------------------------

variable_id new_variable_id() noexcept {
  static constinit std::atomic<variable_id> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

const context_node* share(const context_node* node) noexcept {
  if (node != nullptr) {
    node->references.fetch_add(1, std::memory_order_relaxed);
  }
  return node;
}

namespace {

void let_go(const context_node* node) noexcept {
  // A loop: a chain may be long. acq_rel: whoever destroys a node comes after all that have used it.
  while (node != nullptr && node->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    const context_node* const outer = node->outer;
    node->destroy(node);
    node = outer;
  }
}

belongings& current_belongings() noexcept { return belongings_of(current_waiter()); }

}  // namespace

void push_context(context_node& node) noexcept {
  belongings& own = current_belongings();
  node.outer = own.context;
  own.context = &node;
}

void pop_context(const context_node& node) noexcept {
  belongings& own = current_belongings();
  if (own.context != &node) {
    std::fputs("aramid: context_var::binding: destroyed by another fiber, or before a later one\n", stderr);
    std::abort();
  }
  own.context = share(node.outer);
  let_go(&node);
}

const context_node* find_context(variable_id variable) noexcept {
  const context_node* node = current_belongings().context;
  while (node != nullptr && node->variable != variable) {
    node = node->outer;
  }
  return node;
}

// --- what is local ---------------------------------------------------------------------------------------------------

namespace {

// Places of keys that have gone. Never destroyed: keys may be static.
struct place_pool {
  spin_lock lock;
  std::size_t next = 0;
  std::vector<std::size_t>* free = nullptr;
};
constinit place_pool places;

std::size_t take_place() {
  const std::lock_guard lock(places.lock);
  if (places.free == nullptr) {
    places.free = new std::vector<std::size_t>;
  }
  if (places.free->empty()) {
    places.free->reserve(places.next + 1);  // so that giving it back cannot fail
    return places.next++;
  }
  const std::size_t place = places.free->back();
  places.free->pop_back();
  return place;
}

}  // namespace

void unlock_local_places() noexcept { places.lock.unlock(); }

void lock_local_places() noexcept { places.lock.lock(); }

local_key::local_key() : id(new_variable_id()), place(take_place()) {}

local_key::~local_key() {
  const std::lock_guard lock(places.lock);
  places.free->push_back(place);
}

void* local_table::find(const local_key& key) const noexcept {
  return key.place < entries_.size() && entries_[key.place].of == key.id ? entries_[key.place].value : nullptr;
}

void local_table::keep(const local_key& key, void* value, destroy_local destroy) {
  if (key.place >= entries_.size()) {
    entries_.resize(key.place + 1);
  }
  // Of a key that has gone. It is destroyed last, since its destructor may come back here.
  entry old = std::exchange(entries_[key.place], {key.id, value, destroy, made_++});
  ++alive_;
  drop(old);
}

void local_table::drop(const local_key& key) noexcept {
  if (find(key) != nullptr) {
    drop(entries_[key.place]);
  }
}

void local_table::drop(entry& gone) noexcept {
  if (gone.of != 0) {
    // Out of the table first: its destructor may come back here, and move the table.
    const entry old = std::exchange(gone, {});
    --alive_;
    old.destroy(old.value);
  }
}

void local_table::drop_newest() noexcept {
  entry* newest = nullptr;
  for (entry& each : entries_) {
    if (each.of != 0 && (newest == nullptr || each.age > newest->age)) {
      newest = &each;
    }
  }
  if (newest != nullptr) {
    drop(*newest);
  }
}

void* find_local(const local_key& key) noexcept {
  const local_table* const table = current_belongings().locals.get();
  return table != nullptr ? table->find(key) : nullptr;
}

void keep_local(const local_key& key, void* value, destroy_local destroy) {
  std::unique_ptr<local_table>& table = current_belongings().locals;
  if (table == nullptr) {
    table = std::make_unique<local_table>();
  }
  table->keep(key, value, destroy);
}

void drop_local(const local_key& key) noexcept {
  if (local_table* const table = current_belongings().locals.get()) {
    table->drop(key);
  }
}

// --- who is asked to stop ----------------------------------------------------------------------------------------------

void stop_list::ask() noexcept {
  belongings& own = current_belongings();
  const bool asked_before = std::exchange(own.asks, true);  // by a listener
  while (first_ != nullptr) {
    const std::shared_ptr<stop_node> node = std::exchange(first_, std::move(first_->next));
    node->source.request_stop();
    node->asked.store(true, std::memory_order_release);
    if (node->claimed != nullptr) {
      node->claimed->deliver_claimed();
    }
  }
  own.asks = asked_before;
}

// --- whose they are ----------------------------------------------------------------------------------------------------

void belongings::drop_values(bindings theirs) noexcept {
  do {
    while (locals != nullptr && !locals->empty()) {
      locals->drop_newest();
    }
    locals.reset();
    if (theirs == bindings::go) {
      drop_context();
    }
  } while (locals != nullptr);
}

void belongings::drop_context() noexcept { let_go(std::exchange(context, nullptr)); }

belongings& belongings_of(waiter& who) noexcept {
  if (who.is_fiber()) {
    return static_cast<fiber_control&>(who);
  }
  return static_cast<thread_waiter&>(who);
}

}  // namespace aramid::inline v0::detail
