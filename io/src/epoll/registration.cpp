#include "registration.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <mutex>
#include <new>
#include <utility>

#include <aramid/detail/config.hpp>

#include "epoll_driver.hpp"

namespace aramid::inline v0::detail {
namespace {

constexpr std::uint32_t chunk_size = 256;
constexpr std::uint32_t max_chunks = 16384;  // four million descriptors

// Constant-initialised and never destroyed: descriptors may be closed while statics die.
constinit std::array<std::atomic<registration*>, max_chunks> chunks{};
constinit spin_lock pool_lock;
constinit registration* free_ones = nullptr;  // under the lock, as is the next
constinit std::uint32_t chunk_count = 0;

/// A forked child finds the pool whole and free. What it inherits of its parent's registrations it leaves alone.
void hold_the_pool_while_forking() noexcept {
  static const bool held = pthread_atfork([] { pool_lock.lock(); }, [] { pool_lock.unlock(); }, [] { pool_lock.unlock(); }) == 0;
  (void)held;
}

bool make_more() noexcept {
  if (chunk_count == max_chunks) {
    return false;
  }
  auto* const chunk = new (std::nothrow) registration[chunk_size];
  if (chunk == nullptr) {
    return false;
  }
  for (std::uint32_t i = chunk_size; i-- != 0;) {
    chunk[i].index = chunk_count * chunk_size + i;
    chunk[i].next = std::exchange(free_ones, &chunk[i]);
  }
  // release: pairs with the acquire in registration_at.
  chunks[chunk_count++].store(chunk, std::memory_order_release);
  return true;
}

bool is_tcp_socket(int fd) noexcept {
  int protocol = 0;
  socklen_t size = sizeof protocol;
  return ::getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == IPPROTO_TCP;
}

}  // namespace

registration* make_registration(int fd) noexcept {
  hold_the_pool_while_forking();
  registration* made = nullptr;
  {
    const std::lock_guard guard(pool_lock);
    if (free_ones == nullptr && !make_more()) {
      return nullptr;
    }
    made = std::exchange(free_ones, free_ones->next);
  }
  const std::lock_guard guard(made->lock);
  made->ready.forget();
  made->away = 0;
  made->is_tcp = is_tcp_socket(fd);
  made->was_blocking = false;
  made->no_nowait.store(false, std::memory_order_relaxed);
  return made;
}

void forget(registration& gone, int fd) noexcept {
  {
    const std::lock_guard guard(gone.lock);
    if (epoll_driver* const home = gone.home.exchange(nullptr, std::memory_order_relaxed)) {
      home->remove(fd);
    }
    ++gone.generation;
    if (gone.was_blocking) {
      ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    }
  }
  const std::lock_guard guard(pool_lock);
  gone.next = std::exchange(free_ones, &gone);
}

registration* registration_at(std::uint32_t index) noexcept {
  if (index >= chunk_size * max_chunks) {
    return nullptr;
  }
  registration* const chunk = chunks[index / chunk_size].load(std::memory_order_acquire);
  return chunk == nullptr ? nullptr : &chunk[index % chunk_size];
}

void for_each_registration(void (*visit)(registration&, void*), void* argument) noexcept {
  for (const auto& each : chunks) {
    registration* const chunk = each.load(std::memory_order_acquire);
    if (chunk == nullptr) {
      return;
    }
    for (std::uint32_t i = 0; i != chunk_size; ++i) {
      visit(chunk[i], argument);
    }
  }
}

}  // namespace aramid::inline v0::detail
