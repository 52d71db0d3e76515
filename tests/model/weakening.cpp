#include "weakening.hpp"

#include <algorithm>
#include <cstring>
#include <sstream>

#include "explorer.hpp"

namespace model {
namespace {

// A header is one file, but may be named by different strings in different translation units.
bool same_site(const call_site& a, const call_site& b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0) &&
         (a.function == b.function || std::strcmp(a.function, b.function) == 0);
}

std::vector<std::optional<std::memory_order>> next_weaker(operation op, std::memory_order order) {
  using enum std::memory_order;
  switch (op) {
    case operation::light_fence:
      return {std::nullopt};
    case operation::heavy_fence:
      return {seq_cst};
    case operation::fence:
      if (order == seq_cst) return {acq_rel, std::nullopt};
      if (order == acq_rel) return {acquire, release};
      return {std::nullopt};
    case operation::load:
    case operation::cas_failure:
      if (order == seq_cst) return {acquire};
      if (order == acquire) return {relaxed};
      return {};
    case operation::store:
      if (order == seq_cst) return {release};
      if (order == release) return {relaxed};
      return {};
    case operation::rmw:
    case operation::cas_success:
      if (order == seq_cst) return {acq_rel};
      if (order == acq_rel) return {acquire, release};
      if (order != relaxed) return {relaxed};
      return {};
  }
  return {};
}

}  // namespace

const char* name(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed:
      return "relaxed";
    case std::memory_order_consume:
      return "consume";
    case std::memory_order_acquire:
      return "acquire";
    case std::memory_order_release:
      return "release";
    case std::memory_order_acq_rel:
      return "acq_rel";
    case std::memory_order_seq_cst:
      return "seq_cst";
  }
  return "?";
}

const char* name(operation op) {
  switch (op) {
    case operation::load:
      return "load";
    case operation::store:
      return "store";
    case operation::rmw:
      return "rmw";
    case operation::cas_success:
      return "cas";
    case operation::cas_failure:
      return "cas failure";
    case operation::fence:
      return "fence";
    case operation::light_fence:
      return "light_fence";
    case operation::heavy_fence:
      return "heavy_fence";
  }
  return "?";
}

bool weakening::applies(operation op_, const call_site& at) const {
  return op == op_ && same_site(site, at);
}

std::string weakening::name() const {
  std::string text = std::string(site.function) + ": " + model::name(op);
  if (op == operation::heavy_fence) return text + " -> seq_cst fence";
  if (op != operation::light_fence) text += std::string("(") + model::name(from) + ")";
  if (ordinal != 0) text += " #" + std::to_string(ordinal);
  return text + " -> " + (to ? model::name(*to) : "none");
}

std::string weakening::describe() const {
  const char* slash = std::strrchr(site.file, '/');
  return std::string(slash != nullptr ? slash + 1 : site.file) + ":" + std::to_string(site.line) +
         " " + name();
}

void site_table::add(operation op, const call_site& site, std::memory_order order) {
  for (const entry& e : entries_)
    if (e.op == op && e.order == order && same_site(e.site, site)) return;
  entries_.push_back({op, site, order});
}

std::vector<weakening> site_table::weakenings(const std::string& file_part) const {
  std::vector<entry> sorted;
  for (const entry& e : entries_)
    if (std::strstr(e.site.file, file_part.c_str()) != nullptr) sorted.push_back(e);
  std::sort(sorted.begin(), sorted.end(),
            [](const entry& a, const entry& b) { return a.site.line < b.site.line; });
  std::vector<weakening> all;
  for (const entry& e : sorted) {
    const auto alike = [&](const entry& other) {
      return other.op == e.op && other.order == e.order &&
             std::strcmp(other.site.function, e.site.function) == 0;
    };
    int ordinal = 0;
    if (std::count_if(sorted.begin(), sorted.end(), alike) > 1)
      for (const entry& other : sorted) {
        ordinal += alike(other) ? 1 : 0;
        if (other.site.line == e.site.line && alike(other)) break;
      }
    for (const auto& to : next_weaker(e.op, e.order))
      all.push_back({e.op, e.site, e.order, to, ordinal});
  }
  return all;
}

weakening_report weaken_each(const options& base, const std::vector<std::string>& file_parts,
                             const std::vector<scenario>& scenarios) {
  weakening_report report;
  site_table sites;
  const auto run = [&](const scenario& s, const weakening* weaken, site_table* table) {
    options o = base;
    o.name = s.name;
    o.preemptions = s.preemptions;
    o.weaken = weaken;
    o.sites = table;
    const result r = explore(o, s.body);
    report.executions += r.executions;
    report.states += r.states;
    return r;
  };
  for (const scenario& s : scenarios) {
    const result r = run(s, nullptr, &sites);
    if (!r.complete) {
      report.sound = s.name + ": " + r.report();
      return report;
    }
  }
  std::vector<weakening> all;
  for (const std::string& part : file_parts) {
    const std::vector<weakening> found = sites.weakenings(part);
    if (found.empty()) {
      report.sound = "no order to weaken in files named " + part;
      return report;
    }
    all.insert(all.end(), found.begin(), found.end());
  }
  for (const weakening& w : all) {
    weakening_report::line line;
    line.what = w;
    for (const scenario& s : scenarios) {
      const result r = run(s, &w, nullptr);
      line.executions += r.executions;
      line.complete = line.complete && r.complete;
      if (!r.failed) continue;
      line.caught_by = s.name;
      line.failure = r.failure;
      break;
    }
    report.lines.push_back(line);
  }
  return report;
}

std::vector<std::string> weakening_report::survivors() const {
  std::vector<std::string> names;
  for (const line& l : lines)
    if (l.caught_by.empty()) names.push_back(l.what.name());
  return names;
}

std::size_t weakening_report::caught() const { return lines.size() - survivors().size(); }

std::string weakening_report::text() const {
  std::ostringstream out;
  if (!sound.empty()) out << "NOT SOUND: " << sound << '\n';
  out << lines.size() << " weakenings, " << caught() << " caught; " << executions << " executions, "
      << states << " states\n";
  for (const line& l : lines) {
    out << (l.caught_by.empty() ? "  SURVIVES " : "  caught   ") << l.what.describe();
    if (!l.caught_by.empty())
      out << "   by " << l.caught_by << " after " << l.executions << ": "
          << l.failure.substr(0, 100);
    else if (!l.complete)
      out << "   (exploration incomplete)";
    out << '\n';
  }
  return out.str();
}

}  // namespace model
