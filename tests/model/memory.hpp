// The weak memory that model threads see: C++20's, as an operational semantics.
//
// Every location keeps all its stores in modification order. Every thread keeps, per location, the newest store it must
// have seen (its view) and a vector clock (what happened before it). A load may read any store not older than the view;
// a release store carries the storer's knowledge, an acquire load joins it. In detail:
//
//   1. coherence    reading or writing a store moves the view to it; a load never reads behind the view.
//   2. store        takes any place in modification order behind the view (a store may land *before* one that ran
//                   earlier: that is how 2+2W shows), but not between an RMW and the store that RMW read.
//   3. RMW          reads a store that no other RMW has read and lands right behind it; it passes on the release
//                   knowledge of the store it read (release sequences, as C++20 has them: RMWs only).
//   4. fences       release: later stores carry what is known here. acquire: knowledge met by earlier relaxed loads is
//                   joined. seq_cst: both, and the view is exchanged with one global view (`sc_fences_`).
//   5. seq_cst      the order S is the order of execution. An SC access neither reads nor lands behind what an earlier SC
//      accesses     access of that location read or wrote, or an earlier SC fence knew; an SC fence learns what SC
//                   accesses saw. (C++20 [atomics.order] p4, all four cases.)
//   6. asymmetric   a heavy fence is an SC fence that also pairs with light ones: it learns what every thread knew at its
//      fences       last light fence, and every later light fence learns what it knew. Two light fences do nothing for each
//                   other. That is weaker than "membarrier puts a fence in every thread now", on purpose: without a
//                   light fence (a compiler barrier) the compiler may move accesses across that moment. P1202.
//   7. plain cells  an access that is not ordered by happens-before with a conflicting one is a data race.
//
//   8. load         only with `load_buffering`: a relaxed load may read a store that has not run yet, if in an execution
//      buffering    without such a promise that store ran, and the load did not happen before it. An execution that
//                   does not keep its promise is thrown away. So no value comes out of thin air; an acquire fence, or
//                   synchronisation with the storer, rules it out. This is what a *release* that only keeps earlier
//                   loads in front of it (a thief's reads of slots, before its CAS) protects from.
//
// Not produced: load buffering unless asked for, and the executions in which C++20 lets S disagree with happens-before
// through mixed SC and non-SC accesses (P0668); no x86 or AArch64 machine shows those.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace model {

inline constexpr int max_threads = 8;
inline constexpr int max_locations = 256;

/// The bytes of an atomic object's value.
struct word {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const word&, const word&) = default;
};

inline std::uint64_t mix_hash(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = a * 0x9e3779b97f4a7c15ULL + b + 0x7f4a7c159e3779b9ULL;  // then splitmix64's finaliser
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

using location_id = std::uint32_t;
using store_index = std::uint16_t;

/// Per location, the newest store that must have been seen. Zero is the initial store, so an absent entry is right.
struct view {
  std::uint32_t extent = 0;
  std::array<store_index, max_locations> seen;

  store_index at(location_id location) const {
    return location < extent ? seen[location] : store_index{0};
  }
  void set(location_id location, store_index store) {
    for (; extent <= location; ++extent) seen[extent] = 0;
    seen[location] = store;
  }
  view() = default;
  view(const view& other) { *this = other; }
  view& operator=(const view& other) {
    extent = other.extent;
    std::memcpy(seen.data(), other.seen.data(), extent * sizeof(store_index));
    return *this;
  }
};

using vector_clock = std::array<std::uint32_t, max_threads>;

/// What a thread, a fence or a store knows: the view for coherence, the clock for happens-before.
struct knowledge {
  view stores;
  vector_clock happened{};
};

/// Takes the decisions that the memory leaves open, and hears of errors.
struct arbiter {
  /// Returns a number below `count`.
  virtual std::size_t choose(std::size_t count) = 0;
  /// By value: nobody destroys the caller's string, whose stack is abandoned.
  [[noreturn]] virtual void fail(std::string what) = 0;
  /// The execution cannot happen: forget it.
  [[noreturn]] virtual void discard() = 0;
  /// As `choose`, for the load `event`; an answer of `count` or more is a value that another execution has stored later.
  virtual std::size_t choose_load(std::size_t count, std::uint64_t event) = 0;
  virtual word later_value(std::uint64_t event, std::size_t index) = 0;
  /// Tells that the load `event` could have read `value`, had it been late.
  virtual void offer_later_value(std::uint64_t event, word value) = 0;

protected:
  ~arbiter() = default;
};

struct memory_options {
  bool reorder_stores = true;  // rule 2's freedom
  int stale_rereads =
      2;  // how often in a row a thread reads one store before it must see a newer one
  int spurious_failures = 1;    // of compare_exchange_weak, per thread and execution
  bool load_buffering = false;  // rule 8
};

class memory {
public:
  using formatter = std::string (*)(word);

  explicit memory(arbiter& arbiter) : arbiter_(arbiter) {}

  /// Forgets the last execution.
  void reset(const memory_options& options);
  /// Thread `child` starts, knowing what `parent` knows (`parent` < 0: the first thread).
  void start_thread(int child, int parent);
  /// `parent` has waited for the end of `child`.
  void join_thread(int parent, int child);
  /// `to` learns all that `from` knew (a blocking primitive's hand-over).
  void hand_over(int from, int to);

  location_id create(int thread, const void* address, word initial, formatter show);
  void destroy(int thread, location_id id, const void* address);
  /// Marks every location inside a freed block as destroyed.
  void destroy_range(int thread, const void* begin, std::size_t size_bytes);
  /// Fails if `id` is not the living location at `address`.
  void check_alive(location_id id, const void* address);

  /// The outcome of an operation, for traces.
  struct access {
    word value{};         // read, or for a plain store written
    word written{};       // by an RMW or a successful compare-exchange
    bool success = true;  // of a compare-exchange
    std::size_t behind =
        0;  // how many stores newer than the one read (or newer than the place taken)
  };

  access load(int thread, location_id id, std::memory_order order);
  access store(int thread, location_id id, word value, std::memory_order order);
  access rmw(int thread, location_id id, word (*update)(word, const void*), const void* argument,
             std::memory_order order);
  access compare_exchange(int thread, location_id id, word expected, word desired, bool weak,
                          std::memory_order success, std::memory_order failure);
  void fence(int thread, std::memory_order order);
  void light_fence(int thread);
  void heavy_fence(int thread);
  /// The thread spins: what it has read too often must not be read again.
  void pause(int thread);
  /// An operation outside the memory (a lock, a wake) that the thread's future may depend on.
  void remember(int thread, std::uint64_t what);

  location_id create_plain(int thread, const void* address);
  void read_plain(int thread, location_id id, const void* address);
  void write_plain(int thread, location_id id, const void* address);
  void destroy_plain(int thread, location_id id, const void* address);

  /// Two executions with equal fingerprints have the same futures: everything a thread may do next is a function of what
  /// it has read, and everything it may read is in here.
  std::uint64_t fingerprint() const;
  /// Rule 8: a value has been read that nobody has stored so far.
  bool promises_open() const;
  /// Forgets the execution if a promise can no longer be kept.
  void check_promises();

  std::uint64_t history(int thread) const {
    return threads_[static_cast<std::size_t>(thread)].history;
  }

  /// The living location at `address`; fails if there is none.
  location_id find(const void* address) const;

  std::string name(location_id id) const;
  void set_name(location_id id, std::string name) { locations_[id].name = std::move(name); }
  std::string format(location_id id, word value) const { return locations_[id].format(value); }

private:
  struct store_record {
    word value;
    std::uint64_t event = 0;             // identity, the same in every interleaving that gets here
    std::uint16_t position = 0;          // in modification order
    bool glued = false;                  // written by an RMW that read its predecessor
    const knowledge* release = nullptr;  // joined by acquire loads; null: nothing
    const knowledge* light = nullptr;  // the storer at its last light fence; joined by heavy fences
    const knowledge* heavy = nullptr;  // the storer at its last heavy fence; joined by light fences
  };

  struct location {
    const void* address = nullptr;
    formatter format = nullptr;
    std::string name;
    std::uint64_t identity = 0;
    int creator = 0;
    std::uint32_t born = 0;  // the creator's clock
    bool destroyed = false;
    vector_clock touched{};            // each thread's clock at its last access
    std::vector<store_record> stores;  // in the order they ran; [0] is the initial value
    std::vector<store_index> order;    // in modification order
    store_index sc_latest = 0;         // the newest store that an SC access read or wrote
    std::uint64_t order_hash = 0;
  };

  struct plain_cell {
    const void* address = nullptr;
    bool destroyed = false;
    int writer = 0;
    std::uint32_t written = 0;  // the writer's clock
    vector_clock read{};        // each reader's clock
  };

  struct reread {
    store_index store = 0;
    std::uint16_t times = 0;
    std::uint16_t updates_behind = 0;  // RMWs in a row that landed behind a newer store
  };

  struct thread_state {
    knowledge current;
    knowledge acquirable;                 // met by relaxed loads: what an acquire fence would join
    knowledge from_light, from_heavy;     // likewise, for the asymmetric fences
    const knowledge* released = nullptr;  // at the last release fence
    const knowledge* light = nullptr;     // at the last light fence
    const knowledge* heavy = nullptr;     // at the last heavy fence
    view must_see;                        // raised by pause: binds loads, but is not passed on
    std::array<reread, max_locations> rereads;
    std::vector<location_id> loaded;  // since the last pause
    std::uint64_t history = 0;
    std::uint32_t created = 0;  // locations and cells
    int spurious = 0;
  };

  // A relaxed load that a later store might still reach, and one that has read such a store's value in advance.
  struct early_load {
    location_id id;
    int thread;
    std::uint32_t clock;
    std::uint64_t event;
    word value;
    bool kept = false;  // of a promise: the store has run
    // Of a promise: what the same thread next read or wrote there, which coherence puts behind what the promise has read.
    bool bounded = false;
    bool bound_is_own = false;  // written, not read
    store_index bound = 0;
  };

  access load_or_promise(int thread, location_id id, std::size_t oldest);
  void meet_early_loads(int thread, location_id id, store_index s);
  void bound_promises(int thread, location_id id, store_index s, bool written);

  thread_state& at(int thread) { return threads_[static_cast<std::size_t>(thread)]; }
  location& use(int thread, location_id id);
  std::uint16_t position(const location& l, store_index s) const { return l.stores[s].position; }
  store_index later(const location& l, store_index a, store_index b) const {
    return position(l, a) < position(l, b) ? b : a;
  }

  std::size_t oldest_readable(thread_state& t, location_id id, std::memory_order order);
  std::size_t oldest_updatable(thread_state& t, location_id id, std::memory_order order);
  void note_read(thread_state& t, location_id id);
  std::size_t oldest_place(thread_state& t, location_id id, std::memory_order order);
  std::size_t stale_floor(thread_state& t, location_id id, std::size_t floor);
  void observe(thread_state& t, location_id id, store_index s, std::memory_order order);
  access finish_load(int thread, location_id id, std::size_t place, std::memory_order order);
  access finish_rmw(int thread, location_id id, std::size_t place, word desired,
                    std::memory_order order);
  store_index insert(thread_state& t, location_id id, std::size_t place, store_record record,
                     bool sc);

  void join(view& into, const view& from);
  void join(knowledge& into, const knowledge& from);
  const knowledge* merged(const knowledge* a, const knowledge* b);
  const knowledge* snapshot(const knowledge& k);
  knowledge& new_knowledge();
  std::uint64_t hash(const view& v) const;
  void mix(thread_state& t, std::uint64_t what);
  void tick(int thread) { ++at(thread).current.happened[static_cast<std::size_t>(thread)]; }
  bool knows(const thread_state& t, int thread, std::uint32_t clock) const {
    return t.current.happened[static_cast<std::size_t>(thread)] >= clock;
  }
  void exchange_sc_view(thread_state& t);
  plain_cell& use_plain(location_id id, const void* address);

  arbiter& arbiter_;
  memory_options options_;
  std::array<thread_state, max_threads> threads_;
  std::vector<location> locations_;
  std::size_t location_count_ = 0;
  std::vector<plain_cell> plains_;
  std::size_t plain_count_ = 0;
  std::vector<std::vector<knowledge>> pool_;  // chunks, so that pointers stay valid
  std::size_t pool_used_ = 0;
  view sc_fences_;
  view heavy_fences_;
  std::vector<early_load> loads_;
  std::vector<early_load> promises_;
  std::uint64_t sc_fences_hash_ = 0;
  std::uint64_t heavy_fences_hash_ = 0;
};

}  // namespace model
