#include "log.hpp"

#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include <aramid/detail/immortal.hpp>
#include <aramid/run.hpp>

#include "forks.hpp"

namespace aramid::inline v0 {

namespace {

using handler = std::function<void(std::string_view)>;

constinit detail::immortal<std::mutex> handler_lock;
constinit detail::immortal<std::shared_ptr<const handler>> current_handler;  // under the lock

}  // namespace

void set_log_handler(std::function<void(std::string_view line)> wanted) {
  auto next = wanted ? std::make_shared<const handler>(std::move(wanted)) : nullptr;
  const std::lock_guard lock(handler_lock.value);
  current_handler.value = std::move(next);
}

namespace detail {

void lock_log() noexcept { handler_lock.value.lock(); }
void unlock_log() noexcept { handler_lock.value.unlock(); }

void log_line(std::string_view line) noexcept {
  try {
    std::shared_ptr<const handler> to;
    {
      const std::lock_guard lock(handler_lock.value);
      to = current_handler.value;
    }
    if (to != nullptr) {
      (*to)(line);
      return;
    }
  } catch (...) {  // a failing handler must not take the line along
  }
  std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
}

}  // namespace detail

}  // namespace aramid::inline v0
