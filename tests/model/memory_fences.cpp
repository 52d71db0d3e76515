// Fences, load buffering, plain cells, and the arithmetic of knowledge. The rules are in memory.hpp.
#include "memory.hpp"

namespace model {

// ---- fences -------------------------------------------------------------------------------------------------------

void memory::exchange_sc_view(thread_state& t) {
  join(t.current.stores, sc_fences_);
  for (location_id id = 0; id < location_count_; ++id) {
    const location& l = locations_[id];
    if (l.sc_latest != 0) t.current.stores.set(id, later(l, t.current.stores.at(id), l.sc_latest));
  }
}

void memory::fence(int thread, std::memory_order order) {
  thread_state& t = at(thread);
  if (order == std::memory_order_relaxed) return;
  // Loads stay in front of an acquire fence: what a promise reads must be there.
  if (order != std::memory_order_release)
    for (const early_load& p : promises_)
      if (p.thread == thread && !p.kept) arbiter_.discard();
  mix(t, 0xfe00 + static_cast<std::uint64_t>(order));
  if (order != std::memory_order_release) join(t.current, t.acquirable);
  if (order == std::memory_order_seq_cst) {
    exchange_sc_view(t);
    sc_fences_ = t.current.stores;
    sc_fences_hash_ = hash(sc_fences_);
    mix(t, sc_fences_hash_);
  }
  if (order != std::memory_order_acquire && order != std::memory_order_consume)
    t.released = snapshot(t.current);
  tick(thread);
}

void memory::light_fence(int thread) {
  thread_state& t = at(thread);
  join(t.current.stores, heavy_fences_);
  join(t.current, t.from_heavy);
  mix(t, hash(t.current.stores) + 0x119);
  // What a fence of the machine, put into this thread right here by a heavy fence, would have made known.
  knowledge& known = new_knowledge();
  known = t.current;
  join(known, t.acquirable);
  t.light = &known;
  tick(thread);
}

void memory::heavy_fence(int thread) {
  thread_state& t = at(thread);
  join(t.current, t.acquirable);
  join(t.current, t.from_light);
  join(t.current, t.from_heavy);
  for (const thread_state& other : threads_)
    if (&other != &t && other.light != nullptr) join(t.current.stores, other.light->stores);
  join(t.current.stores, heavy_fences_);
  exchange_sc_view(t);
  sc_fences_ = t.current.stores;
  heavy_fences_ = t.current.stores;
  sc_fences_hash_ = heavy_fences_hash_ = hash(t.current.stores);
  mix(t, sc_fences_hash_ + 0x4ea);
  t.released = t.heavy = snapshot(t.current);
  tick(thread);
}

// ---- load buffering -----------------------------------------------------------------------------------------------

memory::access memory::load_or_promise(int thread, location_id id, std::size_t oldest) {
  thread_state& t = at(thread);
  const std::size_t newest = locations_[id].order.size() - 1;
  const std::uint64_t event = mix_hash(t.history, locations_[id].identity + 0x1b);
  const std::uint32_t clock = t.current.happened[static_cast<std::size_t>(thread)];
  const std::size_t count = newest - oldest + 1;
  const std::size_t chosen = arbiter_.choose_load(count, event);
  if (chosen < count) {
    const access a = finish_load(thread, id, newest - chosen, std::memory_order_relaxed);
    loads_.push_back({.id = id, .thread = thread, .clock = clock, .event = event, .value = a.value});
    return a;
  }
  const word value = arbiter_.later_value(event, chosen - count);
  promises_.push_back({.id = id, .thread = thread, .clock = clock, .event = event, .value = value});
  mix(t, mix_hash(value.low, value.high) + 0x9f0);
  tick(thread);
  return {value, {}, true, 0};
}

// A store has run: earlier loads that did not happen before it could have read it, and promises of it are kept.
void memory::meet_early_loads(int thread, location_id id, store_index s) {
  if (!options_.load_buffering) return;
  const location& l = locations_[id];
  const auto unordered = [&](const early_load& load) {
    return load.id == id && load.thread != thread && !knows(at(thread), load.thread, load.clock);
  };
  if (promises_.empty())  // a value that came from a promise would come out of thin air
    for (const early_load& load : loads_)
      if (unordered(load) && !(load.value == l.stores[s].value))
        arbiter_.offer_later_value(load.event, l.stores[s].value);
  for (early_load& promise : promises_) {
    if (promise.kept || !unordered(promise) || !(promise.value == l.stores[s].value)) continue;
    // Coherence: a thread's later accesses are not before its earlier ones in modification order.
    if (promise.bounded && (promise.bound_is_own ? position(l, s) >= position(l, promise.bound)
                                                 : position(l, s) > position(l, promise.bound)))
      continue;
    promise.kept = true;
    view& seen = at(promise.thread).current.stores;
    seen.set(id, later(l, seen.at(id), s));
  }
}

void memory::bound_promises(int thread, location_id id, store_index s, bool written) {
  for (early_load& promise : promises_) {
    if (promise.id != id || promise.thread != thread || promise.bounded) continue;
    promise.bounded = true;
    promise.bound_is_own = written;
    promise.bound = s;
  }
}

bool memory::promises_open() const {
  for (const early_load& p : promises_)
    if (!p.kept) return true;
  return false;
}

void memory::check_promises() {
  if (promises_open()) arbiter_.discard();
}

// ---- plain cells --------------------------------------------------------------------------------------------------

location_id memory::create_plain(int thread, const void* address) {
  const auto id = static_cast<location_id>(plain_count_++);
  if (plains_.size() < plain_count_) plains_.emplace_back();
  plain_cell& cell = plains_[id];
  cell = plain_cell{};
  cell.address = address;
  cell.writer = thread;
  cell.written = at(thread).current.happened[static_cast<std::size_t>(thread)];
  return id;
}

memory::plain_cell& memory::use_plain(location_id id, const void* address) {
  if (id >= plain_count_ || plains_[id].address != address)
    arbiter_.fail("use after free: the memory no longer holds a plain cell");
  if (plains_[id].destroyed)
    arbiter_.fail("use after free: plain#" + std::to_string(id) + " has been destroyed");
  return plains_[id];
}

void memory::read_plain(int thread, location_id id, const void* address) {
  plain_cell& cell = use_plain(id, address);
  thread_state& t = at(thread);
  if (!knows(t, cell.writer, cell.written))
    arbiter_.fail("data race: plain#" + std::to_string(id) + " is read by thread " +
                  std::to_string(thread) + " while thread " + std::to_string(cell.writer) +
                  " writes it");
  cell.read[static_cast<std::size_t>(thread)] =
      t.current.happened[static_cast<std::size_t>(thread)];
}

void memory::write_plain(int thread, location_id id, const void* address) {
  plain_cell& cell = use_plain(id, address);
  thread_state& t = at(thread);
  if (!knows(t, cell.writer, cell.written))
    arbiter_.fail("data race: plain#" + std::to_string(id) + " is written by threads " +
                  std::to_string(thread) + " and " + std::to_string(cell.writer));
  for (int reader = 0; reader < max_threads; ++reader)
    if (!knows(t, reader, cell.read[static_cast<std::size_t>(reader)]))
      arbiter_.fail("data race: plain#" + std::to_string(id) + " is written by thread " +
                    std::to_string(thread) + " while thread " + std::to_string(reader) +
                    " reads it");
  cell.writer = thread;
  cell.written = t.current.happened[static_cast<std::size_t>(thread)];
}

void memory::destroy_plain(int thread, location_id id, const void* address) {
  if (id >= plain_count_ || plains_[id].address != address || plains_[id].destroyed) return;
  write_plain(thread, id, address);
  plains_[id].destroyed = true;
}

// ---- knowledge ----------------------------------------------------------------------------------------------------

void memory::join(view& into, const view& from) {
  for (location_id id = 0; id < from.extent; ++id) {
    if (from.seen[id] == 0) continue;
    const location& l = locations_[id];
    into.set(id, later(l, into.at(id), from.seen[id]));
  }
}

void memory::join(knowledge& into, const knowledge& from) {
  join(into.stores, from.stores);
  for (std::size_t i = 0; i < into.happened.size(); ++i)
    into.happened[i] = into.happened[i] < from.happened[i] ? from.happened[i] : into.happened[i];
}

const knowledge* memory::merged(const knowledge* a, const knowledge* b) {
  if (a == nullptr || a == b) return b;
  if (b == nullptr) return a;
  knowledge& both = new_knowledge();
  both = *a;
  join(both, *b);
  return &both;
}

const knowledge* memory::snapshot(const knowledge& k) {
  knowledge& copy = new_knowledge();
  copy = k;
  return &copy;
}

knowledge& memory::new_knowledge() {
  constexpr std::size_t chunk = 256;
  const std::size_t index = pool_used_++;
  if (index / chunk == pool_.size()) pool_.emplace_back(chunk);
  return pool_[index / chunk][index % chunk];
}

// ---- identity of states -------------------------------------------------------------------------------------------

void memory::mix(thread_state& t, std::uint64_t what) { t.history = mix_hash(t.history, what); }

// A sum, so that the numbering of locations (which depends on the interleaving) does not matter.
std::uint64_t memory::hash(const view& v) const {
  std::uint64_t sum = 0;
  for (location_id id = 0; id < v.extent; ++id)
    if (v.seen[id] != 0)
      sum += mix_hash(locations_[id].identity, locations_[id].stores[v.seen[id]].event);
  return sum;
}

std::uint64_t memory::fingerprint() const {
  std::uint64_t sum = mix_hash(sc_fences_hash_, heavy_fences_hash_);
  for (location_id id = 0; id < location_count_; ++id) {
    const location& l = locations_[id];
    sum += mix_hash(l.order_hash, l.stores[l.sc_latest].event + (l.destroyed ? 1 : 0));
  }
  for (const early_load& p : promises_)
    sum += mix_hash(p.event, p.value.low * 2 + (p.kept ? 1 : 0));
  return sum;
}

}  // namespace model
