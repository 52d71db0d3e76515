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

struct log_handler {
  std::mutex lock;
  std::shared_ptr<const handler> current;  // under the lock
};

}  // namespace

void set_log_handler(std::function<void(std::string_view line)> wanted) {
  auto next = wanted ? std::make_shared<const handler>(std::move(wanted)) : nullptr;
  auto& log = detail::immortal<log_handler>();
  const std::lock_guard guard(log.lock);
  log.current = std::move(next);
}

namespace detail {

void lock_log() noexcept { immortal<log_handler>().lock.lock(); }
void unlock_log() noexcept { immortal<log_handler>().lock.unlock(); }

void log_line(std::string_view line) noexcept {
  try {
    std::shared_ptr<const handler> to;
    {
      auto& log = immortal<log_handler>();
      const std::lock_guard guard(log.lock);
      to = log.current;
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
