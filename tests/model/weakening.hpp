// Weakening: one memory order of the code under test made weaker, or one fence dropped, while everything else stays.
//
// A call site is (function, kind of operation, line); the step is always to the *next* weaker order, so that "every
// weakening is caught" means no order is stronger than it has to be. What is not caught must be explained by the test.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "call_site.hpp"

namespace model {

enum class operation : std::uint8_t {
  load,
  store,
  rmw,
  cas_success,
  cas_failure,
  fence,
  light_fence,
  heavy_fence
};

const char* name(std::memory_order order);
const char* name(operation op);

/// One change to the program: the site's operation runs with `to`, or not at all.
struct weakening {
  operation op{};
  call_site site{};
  std::memory_order from{};
  std::optional<std::memory_order> to;  // none: the fence is dropped
  int ordinal = 0;  // among the like operations of that function, by line, when there are several

  bool applies(operation op_, const call_site& at) const;
  /// For example "pop: fence(seq_cst) -> acq_rel", or "push: store(release) #2 -> relaxed". Has no line number, so
  /// that a test can list it.
  std::string name() const;
  /// The same, with file and line.
  std::string describe() const;
};

/// Every call site that an exploration passed, with its order.
class site_table {
public:
  void add(operation op, const call_site& site, std::memory_order order);
  /// Every step to a next weaker order. `file_part`: only sites in files whose path contains it.
  std::vector<weakening> weakenings(const std::string& file_part) const;

private:
  struct entry {
    operation op;
    call_site site;
    std::memory_order order;
  };
  std::vector<entry> entries_;
};

struct options;

/// One program among those that together must notice a weakening.
struct scenario {
  std::string name{};
  std::function<void()> body{};
  int preemptions = 2;
};

struct weakening_report {
  struct line {
    weakening what;
    std::string caught_by;  // the scenario; empty: it survived
    std::string failure;
    std::uint64_t executions = 0;
    bool complete = true;  // the survivors' exploration was complete
  };
  std::string sound;  // empty: the unweakened program passes every scenario; else the first failure
  std::vector<line> lines;
  std::uint64_t executions = 0;
  std::uint64_t states = 0;

  std::vector<std::string> survivors() const;
  std::size_t caught() const;
  std::string text() const;
};

/// Explores every scenario as it is, then every scenario under every weakening of the sites in files named as one of `file_parts`, each of which
/// has to name some.
weakening_report weaken_each(const options& base, const std::vector<std::string>& file_parts,
                             const std::vector<scenario>& scenarios);

}  // namespace model
