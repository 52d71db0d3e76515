#include "driver_select.hpp"

#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "epoll/epoll_driver.hpp"
#include "fake/fake_driver.hpp"
#include "uring/uring_driver.hpp"

namespace aramid::inline v0::detail {
namespace {

using drivers = std::vector<std::unique_ptr<driver>>;

template <class MakeOne>
drivers make_all(unsigned count, MakeOne make_one) {
  drivers made;
  made.reserve(count);
  for (unsigned i = 0; i != count; ++i) {
    made.push_back(make_one(i));
  }
  return made;
}

drivers make_rings(unsigned count) {
  return make_all(count, [](unsigned) { return std::make_unique<uring_driver>(); });
}
drivers make_epolls(unsigned count) {
  return make_all(count, [](unsigned) { return std::make_unique<epoll_driver>(); });
}
drivers make_fakes(unsigned count) {
  return make_all(count, [](unsigned index) { return std::make_unique<fake_driver>(index + 1); });
}

struct kind {
  std::string_view name;
  drivers (*make)(unsigned count);
};

// In the order of preference; the place to add a driver.
constexpr std::array kinds{kind{"io_uring", &make_rings}, kind{"epoll", &make_epolls}};
constexpr kind for_tests{"fake", &make_fakes};

const kind& kind_named(std::string_view name, const char* by) {
  if (name == for_tests.name) {
    return for_tests;
  }
  std::string known;
  for (const kind& one : kinds) {
    if (one.name == name) {
      return one;
    }
    known += known.empty() ? "" : ", ";
    known += one.name;
  }
  throw std::invalid_argument(by + ("\"" + std::string(name)) + "\": no such driver; there is: " + known);
}

constexpr std::string_view library = "aramid: ";  // what its messages begin with

/// Once a process: whoever makes a hundred runtimes knows it after the first.
void say_once(const std::string& line) {
  static std::atomic<bool> said{false};
  if (!said.exchange(true, std::memory_order_relaxed)) {
    log_line(line);
  }
}

drivers make_the_first_that_works(unsigned count) {
  for (std::size_t i = 0;; ++i) {
    try {
      return kinds[i].make(count);
    } catch (const std::system_error& refusal) {
      if (i + 1 == kinds.size()) {
        throw;
      }
      std::string_view reason = refusal.what();
      reason.remove_prefix(reason.starts_with(library) ? library.size() : 0);
      say_once(std::string(library) + "I/O goes through " + std::string(kinds[i + 1].name) + ", since " + std::string(kinds[i].name) +
               " does not work here: " + std::string(reason));
    }
  }
}

drivers select(unsigned count, std::string_view wanted) {
  static const char* const override_by_environment = std::getenv("ARAMID_DRIVER");
  if (override_by_environment != nullptr && *override_by_environment != '\0') {
    return kind_named(override_by_environment, "ARAMID_DRIVER=").make(count);
  }
  return wanted.empty() ? make_the_first_that_works(count) : kind_named(wanted, "options::driver: ").make(count);
}

}  // namespace

io_driver* current_io_driver() {
  // All that `select` makes are io_drivers.
  return static_cast<io_driver*>(driver_for_io(&select));
}

io_driver* enter_io() { return static_cast<io_driver*>(enter_io(&select)); }

}  // namespace aramid::inline v0::detail
