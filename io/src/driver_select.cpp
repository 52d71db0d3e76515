#include "driver_select.hpp"

#include <array>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>

#include "epoll/epoll_driver.hpp"
#include "fake/fake_driver.hpp"
#include "uring/uring_driver.hpp"

namespace aramid::inline v0::detail {
namespace {

using drivers = std::vector<std::unique_ptr<driver>>;

template <class Driver>
drivers make_all(unsigned count) {
  drivers made;
  made.reserve(count);
  for (unsigned i = 0; i != count; ++i) {
    made.push_back(std::make_unique<Driver>());
  }
  return made;
}

struct kind {
  std::string_view name;
  drivers (*make)(unsigned count);
};

drivers make_fakes(unsigned count) {
  drivers made;
  for (unsigned i = 0; i != count; ++i) {
    made.push_back(std::make_unique<fake_driver>(i + 1));
  }
  return made;
}

// In the order of preference; the place to add a driver.
constexpr std::array kinds{kind{"io_uring", &make_all<uring_driver>}, kind{"epoll", &make_all<epoll_driver>}};
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

}  // namespace aramid::inline v0::detail
