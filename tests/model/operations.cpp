// The visible operations: a scheduling point each, then the memory's rule, then a line of the trace.
#include <sstream>

#include "explorer.hpp"

namespace model {
namespace {

// The order with which the operation runs: its own, unless this is the call site that the run weakens.
std::memory_order effective(const options& o, operation op, const call_site& site,
                            std::memory_order order) {
  if (o.sites != nullptr) o.sites->add(op, site, order);
  if (o.weaken != nullptr && o.weaken->applies(op, site) && o.weaken->from == order)
    return o.weaken->to.value_or(std::memory_order_relaxed);
  return order;
}

}  // namespace

void explorer::step(const std::string& operation, location_id id, const memory::access& access,
                    std::memory_order order, call_site site) {
  if (!tracing_) return;
  std::ostringstream line;
  line << operation << '(' << model::name(order) << ") " << memory_.name(id) << ' '
       << memory_.format(id, access.value);
  if (operation == "rmw" || operation == "cas") {
    if (access.success)
      line << " -> " << memory_.format(id, access.written);
    else
      line << " fails";
  }
  if (access.behind != 0)
    line << "   [" << access.behind << (operation == "store" ? " behind" : " newer exist") << ']';
  line << "   " << site.function << ':' << site.line;
  note(line.str());
}

location_id explorer::create(const void* address, word initial, memory::formatter format) {
  const heap::untracked scope;
  return memory_.create(current_, address, initial, format);
}

void explorer::destroy(location_id id, const void* address) {
  const heap::untracked scope;
  memory_.destroy(current_, id, address);
}

word explorer::load(location_id id, const void* address, std::memory_order order, call_site site) {
  const heap::untracked scope;
  order = effective(options_, operation::load, site, order);
  point();
  memory_.check_alive(id, address);
  const memory::access a = memory_.load(current_, id, order);
  step("load", id, a, order, site);
  return a.value;
}

void explorer::store(location_id id, const void* address, word value, std::memory_order order,
                     call_site site) {
  const heap::untracked scope;
  order = effective(options_, operation::store, site, order);
  point();
  memory_.check_alive(id, address);
  step("store", id, memory_.store(current_, id, value, order), order, site);
}

word explorer::rmw(location_id id, const void* address, word (*update)(word, const void*),
                   const void* argument, std::memory_order order, call_site site) {
  const heap::untracked scope;
  order = effective(options_, operation::rmw, site, order);
  point();
  memory_.check_alive(id, address);
  const memory::access a = memory_.rmw(current_, id, update, argument, order);
  step("rmw", id, a, order, site);
  return a.value;
}

bool explorer::compare_exchange(location_id id, const void* address, word& expected, word desired,
                                bool weak, std::memory_order success, std::memory_order failure,
                                call_site site) {
  const heap::untracked scope;
  success = effective(options_, operation::cas_success, site, success);
  failure = effective(options_, operation::cas_failure, site, failure);
  point();
  memory_.check_alive(id, address);
  const memory::access a =
      memory_.compare_exchange(current_, id, expected, desired, weak, success, failure);
  step("cas", id, a, a.success ? success : failure, site);
  expected = a.value;
  return a.success;
}

void explorer::fence(std::memory_order order, call_site site) {
  const heap::untracked scope;
  order = effective(options_, operation::fence, site, order);
  // Only an SC fence has an effect that other threads can meet at once.
  if (order == std::memory_order_seq_cst) point();
  memory_.fence(current_, order);
  note(std::string("fence(") + model::name(order) + ")   " + site.function + ":" +
       std::to_string(site.line));
}

void explorer::light_fence(call_site site) {
  const heap::untracked scope;
  if (options_.sites != nullptr)
    options_.sites->add(operation::light_fence, site, std::memory_order_seq_cst);
  if (options_.weaken != nullptr && options_.weaken->applies(operation::light_fence, site)) return;
  point();
  memory_.light_fence(current_);
  note(std::string("light_fence   ") + site.function + ":" + std::to_string(site.line));
}

void explorer::heavy_fence(call_site site) {
  const heap::untracked scope;
  if (options_.sites != nullptr)
    options_.sites->add(operation::heavy_fence, site, std::memory_order_seq_cst);
  point();
  if (options_.weaken != nullptr && options_.weaken->applies(operation::heavy_fence, site)) {
    memory_.fence(current_, std::memory_order_seq_cst);
    return;
  }
  memory_.heavy_fence(current_);
  note(std::string("heavy_fence   ") + site.function + ":" + std::to_string(site.line));
}

location_id explorer::create_plain(const void* address) {
  const heap::untracked scope;
  return memory_.create_plain(current_, address);
}

void explorer::destroy_plain(location_id id, const void* address) {
  const heap::untracked scope;
  memory_.destroy_plain(current_, id, address);
}

void explorer::read_plain(location_id id, const void* address, call_site site) {
  const heap::untracked scope;
  if (tracing_)
    note("read plain#" + std::to_string(id) + "   " + site.function + ":" +
         std::to_string(site.line));
  memory_.read_plain(current_, id, address);
}

void explorer::write_plain(location_id id, const void* address, call_site site) {
  const heap::untracked scope;
  if (tracing_)
    note("write plain#" + std::to_string(id) + "   " + site.function + ":" +
         std::to_string(site.line));
  memory_.write_plain(current_, id, address);
}

}  // namespace model
