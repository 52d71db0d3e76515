// What the epoll driver remembers of one open descriptor: which driver's interest list it is in, what it was last told, and who waits.
//
//   1. Made with the first operation on the descriptor, entered into the list of the driver on which somebody first has to wait
//      (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI, edge-triggered), and in that list until the descriptor is closed: a wait costs no
//      system call. It moves when its fibers have waited elsewhere many times in a row, so that connections spread with their fibers.
//   2. The event that the kernel gives back names index and generation, never an address: a descriptor may be closed while an event of
//      its is on its way, and the registration be another's by then.
//   3. Closing takes it out of the list (a close(2) does not, while a duplicate of the descriptor is open elsewhere), raises the generation
//      and returns it.
//   4. A driver that ends leaves its registrations without a home: the next wait finds them another. Whoever waits in one (a fiber of
//      another runtime; its own have all ended) is told to try again.
//
// Registrations are never freed, so that looking one up needs no lock; the pool of them belongs to the process, since a descriptor may
// outlive every runtime.
//
// Rejected: EPOLLONESHOT, which costs a system call a wait; a registration inside of `descriptor`, which an event might outlive; one epoll
// for all workers, in which a sleeping worker cannot be woken by itself and every event takes one lock.
#pragma once

#include <atomic>
#include <cstdint>

#include <aramid/detail/spin_lock.hpp>

#include "readiness_word.hpp"

namespace aramid::inline v0::detail {

class epoll_driver;
struct operation;

/// A line of the cache.
struct alignas(64) registration {
  readiness_word<> ready;

  spin_lock lock;                            // guards what follows, but for what is said
  std::atomic<epoll_driver*> home{nullptr};  // written under the lock; relaxed: only a hint without it
  operation* waiting = nullptr;
  std::uint32_t generation = 0;
  std::uint32_t away = 0;  // waits in a row on another driver than home

  std::uint32_t index = 0;      // the pool, once
  bool is_tcp = false;          // whoever makes it: a read that got less than it asked for has emptied it (readiness_word.hpp)
  bool was_blocking = false;    // O_NONBLOCK was set by us
  std::atomic<bool> no_nowait{false};  // the kernel does not know RWF_NOWAIT for it; relaxed: a hint
  registration* next = nullptr; // of those that are free; under the pool's lock

  [[nodiscard]] std::uint64_t ticket() const noexcept { return std::uint64_t{generation} << 32 | index; }
};

static_assert(sizeof(registration) == 64);

/// Step 1. Returns: nullptr if there is no memory.
[[nodiscard]] registration* make_registration(int fd) noexcept;

/// Step 3, before `fd` is closed or given away. Nobody waits in it.
void forget(registration& gone, int fd) noexcept;

/// The one with this index, which may be another's by now; nullptr if there never was one.
[[nodiscard]] registration* registration_at(std::uint32_t index) noexcept;

/// Calls `visit(each, argument)` for all that there are, free ones too.
void for_each_registration(void (*visit)(registration&, void*), void* argument) noexcept;

}  // namespace aramid::inline v0::detail
