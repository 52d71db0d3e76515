#include "log.hpp"

#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include <aramid/run.hpp>

#include "forks.hpp"

namespace aramid::inline v0 {

namespace {

using handler = std::function<void(std::string_view)>;

// Neither is ever destroyed: threads may log while statics die.
std::mutex& handler_lock() {
  static std::mutex* const lock = new std::mutex;
  return *lock;
}
std::shared_ptr<const handler>& current_handler() {
  static auto* const current = new std::shared_ptr<const handler>;
  return *current;
}

}  // namespace

void set_log_handler(std::function<void(std::string_view line)> wanted) {
  auto next = wanted ? std::make_shared<const handler>(std::move(wanted)) : nullptr;
  const std::lock_guard lock(handler_lock());
  current_handler() = std::move(next);
}

namespace detail {

void lock_log() noexcept { handler_lock().lock(); }
void unlock_log() noexcept { handler_lock().unlock(); }

void log_line(std::string_view line) noexcept {
  try {
    std::shared_ptr<const handler> to;
    {
      const std::lock_guard lock(handler_lock());
      to = current_handler();
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
