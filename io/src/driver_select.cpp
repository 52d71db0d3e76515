// The drivers in the order of preference. ARAMID_DRIVER=<name>, read once, takes one and no other;
// without it each is tried until one works, and a runtime whose rings the kernel refuses half-way
// goes to the next one whole: a `driver_for_io` that fails has left the runtime as it was.
#include "driver_select.hpp"

#include <array>
#include <cstdlib>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "uring/uring_driver.hpp"

namespace aramid::inline v0::detail {
namespace {

class uring_factory final : public driver_factory {
public:
  [[nodiscard]] std::unique_ptr<driver> make() const override {
    return std::make_unique<uring_driver>();
  }
};

struct choice {
  std::string_view name;
  const driver_factory* factory;
};

using choices = std::array<choice, 1>;

// Never destroyed: a fiber may do its first I/O while the program's statics are being destroyed.
template <class Factory>
const driver_factory* immortal() {
  static const Factory* const factory = new Factory;
  return factory;
}

// The place to add a driver.
const choices& all_choices() {
  static const choices all{{{"io_uring", immortal<uring_factory>()}}};
  return all;
}

std::span<const choice> environments_choice() {
  const choices& all = all_choices();
  const char* const wanted = std::getenv("ARAMID_DRIVER");
  if (wanted == nullptr || *wanted == '\0') {
    return all;
  }
  std::string known;
  for (const choice& one : all) {
    if (one.name == wanted) {
      return {&one, 1};
    }
    known += known.empty() ? "" : ", ";
    known += one.name;
  }
  throw std::invalid_argument("ARAMID_DRIVER=" + std::string(wanted) +
                              ": no such driver; there is: " + known);
}

}  // namespace

io_driver* current_io_driver() {
  // If this throws it is tried again at the next call.
  static const std::span<const choice> allowed = environments_choice();
  for (std::size_t i = 0;; ++i) {
    try {
      // Every factory above makes io_drivers. A runtime that has its drivers does not look at the
      // factory.
      return static_cast<io_driver*>(driver_for_io(*allowed[i].factory));
    } catch (const std::system_error&) {
      if (i + 1 == allowed.size()) {
        throw;
      }
    }
  }
}

}  // namespace aramid::inline v0::detail
