// net_load: a load generator for echo servers, in a closed or an open loop, that checks every byte.
#include "failure.hpp"
#include "load.hpp"
#include "options.hpp"
#include "report.hpp"

#include <sched.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

namespace {

enum exit_code : int { all_well = 0, server_misbehaved = 1, wrong_usage = 2 };

void pin_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (::sched_setaffinity(0, sizeof(set), &set) != 0) {
    throw net_load::bad_usage("--pin " + std::to_string(cpu) + ": " + std::strerror(errno));
  }
}

}  // namespace

int main(int argc, char** argv) {
  net_load::options settings;
  if (const auto finished = net_load::parse_options(argc, argv, settings)) {
    return *finished;
  }
  try {
    if (settings.pin_cpu) {
      pin_to(*settings.pin_cpu);
    }
    net_load::load load(settings);
    const net_load::figures& result = load.run();
    if (settings.json) {
      net_load::print_json(settings, result);
    } else {
      net_load::print_text(settings, result);
    }
    for (const std::string& failure : result.failures.first) {
      std::fprintf(stderr, "net_load: %s\n", failure.c_str());
    }
    return result.failures.total() == 0 ? all_well : server_misbehaved;
  } catch (const net_load::server_unreachable& error) {
    std::fprintf(stderr, "net_load: %s\n", error.what());
    return server_misbehaved;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "net_load: %s\n", error.what());
    return wrong_usage;
  }
}
