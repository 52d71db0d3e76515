#include "memory.hpp"

#include <algorithm>

namespace model {
namespace {

bool acquires(std::memory_order order) {
  return order == std::memory_order_acquire || order == std::memory_order_consume ||
         order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}
bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}
bool is_sc(std::memory_order order) { return order == std::memory_order_seq_cst; }

}  // namespace

// ---- an execution's life ------------------------------------------------------------------------------------------

void memory::reset(const memory_options& options) {
  options_ = options;
  location_count_ = 0;
  plain_count_ = 0;
  pool_used_ = 0;
  sc_fences_.extent = 0;
  heavy_fences_.extent = 0;
  sc_fences_hash_ = 0;
  heavy_fences_hash_ = 0;
  loads_.clear();
  promises_.clear();
  for (thread_state& t : threads_)
    t.light = nullptr;  // heavy fences look at every thread, started or not
}

void memory::start_thread(int child, int parent) {
  thread_state& t = at(child);
  for (knowledge* k : {&t.current, &t.acquirable, &t.from_light, &t.from_heavy}) {
    k->stores.extent = 0;
    k->happened.fill(0);
  }
  t.must_see.extent = 0;
  t.released = t.light = t.heavy = nullptr;
  t.rereads.fill({});
  t.loaded.clear();
  t.created = 0;
  t.spurious = 0;
  t.history = mix_hash(static_cast<std::uint64_t>(child) + 1, parent < 0 ? 0 : at(parent).history);
  if (parent >= 0) hand_over(parent, child);
  t.current.happened[static_cast<std::size_t>(child)] = 1;
}

void memory::join_thread(int parent, int child) {
  hand_over(child, parent);
  remember(parent, at(child).history);
}

void memory::hand_over(int from, int to) {
  join(at(to).current, at(from).current);
  tick(from);
}

void memory::remember(int thread, std::uint64_t what) { mix(at(thread), what); }

// ---- locations ----------------------------------------------------------------------------------------------------

location_id memory::create(int thread, const void* address, word initial, formatter show) {
  if (location_count_ == max_locations)
    arbiter_.fail("too many atomic objects for the explorer (max_locations)");
  const auto id = static_cast<location_id>(location_count_++);
  if (locations_.size() < location_count_) locations_.emplace_back();
  thread_state& t = at(thread);
  location& l = locations_[id];
  l.address = address;
  l.format = show;
  l.name.clear();
  l.identity = mix_hash(t.history, ++t.created);
  l.creator = thread;
  l.born = t.current.happened[static_cast<std::size_t>(thread)];
  l.destroyed = false;
  l.touched.fill(0);
  l.touched[static_cast<std::size_t>(thread)] = l.born;
  l.stores.clear();
  l.order.clear();
  l.sc_latest = 0;
  store_record record;
  record.value = initial;
  record.event = l.identity;
  l.stores.push_back(record);
  l.order.push_back(0);
  l.order_hash = l.identity;
  return id;
}

std::string memory::name(location_id id) const {
  if (id >= location_count_) return "?";
  const location& l = locations_[id];
  return l.name.empty() ? "atomic#" + std::to_string(id) : l.name;
}

location_id memory::find(const void* address) const {
  for (location_id id = 0; id < location_count_; ++id)
    if (locations_[id].address == address && !locations_[id].destroyed) return id;
  arbiter_.fail("use after free: no atomic object is there");
  __builtin_unreachable();
}

void memory::check_alive(location_id id, const void* address) {
  if (id >= location_count_ || locations_[id].address != address)
    arbiter_.fail("use after free: the memory no longer holds an atomic object");
  if (locations_[id].destroyed)
    arbiter_.fail("use after free: " + name(id) + " has been destroyed");
}

memory::location& memory::use(int thread, location_id id) {
  location& l = locations_[id];
  thread_state& t = at(thread);
  if (!knows(t, l.creator, l.born))
    arbiter_.fail("data race: access to " + name(id) + " is not ordered after its construction");
  l.touched[static_cast<std::size_t>(thread)] =
      t.current.happened[static_cast<std::size_t>(thread)];
  return l;
}

void memory::destroy(int thread, location_id id, const void* address) {
  if (id >= location_count_ || locations_[id].address != address || locations_[id].destroyed)
    return;
  location& l = locations_[id];
  for (int other = 0; other < max_threads; ++other)
    if (!knows(at(thread), other, l.touched[static_cast<std::size_t>(other)]))
      arbiter_.fail("data race: the destruction of " + name(id) +
                    " is not ordered after its use by thread " + std::to_string(other));
  l.destroyed = true;
}

void memory::destroy_range(int thread, const void* begin, std::size_t size_bytes) {
  const auto inside = [&](const void* p) {
    const auto at = reinterpret_cast<std::uintptr_t>(p);
    const auto from = reinterpret_cast<std::uintptr_t>(begin);
    return at >= from && at < from + size_bytes;
  };
  for (location_id id = 0; id < location_count_; ++id)
    if (inside(locations_[id].address)) destroy(thread, id, locations_[id].address);
  for (location_id id = 0; id < plain_count_; ++id)
    if (inside(plains_[id].address)) destroy_plain(thread, id, plains_[id].address);
}

// ---- what may be read, where a store may land ---------------------------------------------------------------------

std::size_t memory::oldest_place(thread_state& t, location_id id, std::memory_order order) {
  const location& l = locations_[id];
  std::uint16_t oldest = position(l, t.current.stores.at(id));
  if (is_sc(order)) {
    oldest = std::max(oldest, position(l, l.sc_latest));
    oldest = std::max(oldest, position(l, sc_fences_.at(id)));
  }
  return oldest;
}

std::size_t memory::oldest_readable(thread_state& t, location_id id, std::memory_order order) {
  const location& l = locations_[id];
  const std::size_t oldest = oldest_place(t, id, order);
  return stale_floor(t, id, std::max<std::size_t>(oldest, position(l, t.must_see.at(id))));
}

// The same for an RMW, which reads its own store next time: it lands behind newer stores a few times in a row at most.
std::size_t memory::oldest_updatable(thread_state& t, location_id id, std::memory_order order) {
  const location& l = locations_[id];
  if (t.rereads[id].updates_behind >= options_.stale_rereads) return l.order.size() - 1;
  return std::max<std::size_t>(oldest_place(t, id, order), position(l, t.must_see.at(id)));
}

void memory::note_read(thread_state& t, location_id id) {
  if (std::find(t.loaded.begin(), t.loaded.end(), id) == t.loaded.end()) t.loaded.push_back(id);
}

// A store that has been read `stale_rereads` times in a row is not offered again once there is a newer one: stores
// become visible in finite time ([intro.progress] p18).
std::size_t memory::stale_floor(thread_state& t, location_id id, std::size_t floor) {
  const location& l = locations_[id];
  const reread& r = t.rereads[id];
  if (r.times < options_.stale_rereads) return floor;
  const std::size_t tired_of = position(l, r.store);
  return tired_of + 1 < l.order.size() ? std::max(floor, tired_of + 1) : floor;
}

void memory::observe(thread_state& t, location_id id, store_index s, std::memory_order order) {
  location& l = locations_[id];
  const store_record& record = l.stores[s];
  t.current.stores.set(id, later(l, t.current.stores.at(id), s));
  if (is_sc(order)) l.sc_latest = later(l, l.sc_latest, s);
  if (record.release != nullptr) {
    join(t.acquirable, *record.release);
    if (acquires(order)) join(t.current, *record.release);
  }
  if (record.light != nullptr) join(t.from_light, *record.light);
  if (record.heavy != nullptr) join(t.from_heavy, *record.heavy);
  reread& r = t.rereads[id];
  if (r.times != 0 && r.store == s)
    ++r.times;
  else
    r = {s, 1, r.updates_behind};
  mix(t, record.event);
}

memory::access memory::finish_load(int thread, location_id id, std::size_t place,
                                   std::memory_order order) {
  location& l = locations_[id];
  thread_state& t = at(thread);
  const store_index s = l.order[place];
  observe(t, id, s, order);
  note_read(t, id);
  bound_promises(thread, id, s, false);
  tick(thread);
  return {l.stores[s].value, {}, true, l.order.size() - 1 - place};
}

memory::access memory::load(int thread, location_id id, std::memory_order order) {
  const location& l = use(thread, id);
  const std::size_t newest = l.order.size() - 1;
  const std::size_t oldest = oldest_readable(at(thread), id, order);
  if (options_.load_buffering && order == std::memory_order_relaxed)
    return load_or_promise(thread, id, oldest);
  return finish_load(thread, id, newest - arbiter_.choose(newest - oldest + 1), order);
}

store_index memory::insert(thread_state& t, location_id id, std::size_t place, store_record record,
                           bool sc) {
  location& l = locations_[id];
  const auto s = static_cast<store_index>(l.stores.size());
  record.event = t.history;
  l.stores.push_back(record);
  l.order.insert(l.order.begin() + static_cast<std::ptrdiff_t>(place), s);
  l.order_hash = l.identity;
  for (std::size_t i = 0; i < l.order.size(); ++i) {
    l.stores[l.order[i]].position = static_cast<std::uint16_t>(i);
    l.order_hash = mix_hash(l.order_hash, l.stores[l.order[i]].event);
  }
  t.current.stores.set(id, s);
  if (sc) l.sc_latest = later(l, l.sc_latest, s);
  return s;
}

memory::access memory::store(int thread, location_id id, word value, std::memory_order order) {
  const location& l = use(thread, id);
  thread_state& t = at(thread);
  // The places for the new store, newest first: `n` means in front of what is n-th now.
  std::array<std::uint16_t, 64> places;
  std::size_t count = 0;
  places[count++] = static_cast<std::uint16_t>(l.order.size());
  if (options_.reorder_stores) {
    const std::size_t oldest = oldest_place(t, id, order);
    for (std::size_t place = l.order.size() - 1; place > oldest && count < places.size(); --place)
      if (!l.stores[l.order[place]].glued) places[count++] = static_cast<std::uint16_t>(place);
  }
  const std::size_t place = places[arbiter_.choose(count)];
  mix(t, 0x5707e);
  store_record record;
  record.value = value;
  record.light = t.light;
  record.heavy = t.heavy;
  const std::size_t behind = l.order.size() - place;
  const store_index s = insert(t, id, place, record, is_sc(order));
  locations_[id].stores[s].release = releases(order) ? snapshot(t.current) : t.released;
  bound_promises(thread, id, s, true);
  meet_early_loads(thread, id, s);
  tick(thread);
  return {value, value, true, behind};
}

memory::access memory::finish_rmw(int thread, location_id id, std::size_t place, word desired,
                                  std::memory_order order) {
  location& l = locations_[id];
  thread_state& t = at(thread);
  const store_record read = l.stores[l.order[place]];
  const std::size_t behind = l.order.size() - 1 - place;
  observe(t, id, l.order[place], order);
  note_read(t, id);
  reread& r = t.rereads[id];
  r.updates_behind = static_cast<std::uint16_t>(behind == 0 ? 0 : r.updates_behind + 1);
  if (behind != 0) mix(t, 0xbe417d);
  store_record record;
  record.value = desired;
  record.glued = true;
  record.light = merged(read.light, t.light);
  record.heavy = merged(read.heavy, t.heavy);
  const store_index s = insert(t, id, place + 1, record, is_sc(order));
  const knowledge* own = releases(order) ? snapshot(t.current) : t.released;
  l.stores[s].release = merged(read.release, own);
  bound_promises(thread, id, s, true);
  meet_early_loads(thread, id, s);
  tick(thread);
  return {read.value, desired, true, behind};
}

memory::access memory::rmw(int thread, location_id id, word (*update)(word, const void*),
                           const void* argument, std::memory_order order) {
  const location& l = use(thread, id);
  std::array<std::uint16_t, 64> places;
  std::size_t count = 0;
  const std::size_t oldest = oldest_updatable(at(thread), id, order);
  for (std::size_t place = l.order.size(); place-- > oldest && count < places.size();)
    if (place + 1 == l.order.size() || !l.stores[l.order[place + 1]].glued)
      places[count++] = static_cast<std::uint16_t>(place);
  const std::size_t place = places[arbiter_.choose(count)];
  return finish_rmw(thread, id, place, update(l.stores[l.order[place]].value, argument), order);
}

memory::access memory::compare_exchange(int thread, location_id id, word expected, word desired,
                                        bool weak, std::memory_order success,
                                        std::memory_order failure) {
  const location& l = use(thread, id);
  thread_state& t = at(thread);
  struct candidate {
    std::uint16_t place;
    bool success;
  };
  std::array<candidate, 128> candidates;
  std::size_t count = 0;
  const std::size_t oldest_success = oldest_updatable(t, id, success);
  const std::size_t oldest_failure = oldest_readable(t, id, failure);
  std::size_t place = l.order.size();
  for (const std::size_t oldest = std::min(oldest_success, oldest_failure);
       place-- > oldest && count < 126;) {
    const bool equal = l.stores[l.order[place]].value == expected;
    const bool taken = place + 1 < l.order.size() && l.stores[l.order[place + 1]].glued;
    if (equal && !taken && place >= oldest_success)
      candidates[count++] = {static_cast<std::uint16_t>(place), true};
    if (!equal && place >= oldest_failure)
      candidates[count++] = {static_cast<std::uint16_t>(place), false};
  }
  if (weak && t.spurious < options_.spurious_failures) {
    const std::size_t newest = l.order.size() - 1;
    if (l.stores[l.order[newest]].value == expected)
      candidates[count++] = {static_cast<std::uint16_t>(newest), false};
  }
  const candidate taken = candidates[arbiter_.choose(count)];
  if (taken.success) return finish_rmw(thread, id, taken.place, desired, success);
  const bool spurious = l.stores[l.order[taken.place]].value == expected;
  if (spurious) ++t.spurious;
  mix(t, spurious ? 0x5be : 0xfa17);
  access result = finish_load(thread, id, taken.place, failure);
  result.success = false;
  return result;
}

void memory::pause(int thread) {
  thread_state& t = at(thread);
  mix(t, 0x9a05e);
  for (location_id id : t.loaded) {
    const location& l = locations_[id];
    const store_index newest = l.order.back();
    if (position(l, t.current.stores.at(id)) == position(l, newest)) continue;
    t.must_see.set(id, newest);
    mix(t, l.stores[newest].event);
  }
  t.loaded.clear();
}

}  // namespace model
