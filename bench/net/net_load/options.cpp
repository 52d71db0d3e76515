#include "options.hpp"

#include <CLI/CLI.hpp>

#include <map>

namespace net_load {

std::optional<int> parse_options(int argc, char** argv, options& parsed) {
  CLI::App app{
      "Load for an echo server, in a closed or an open loop: every byte that comes back is compared "
      "with what was sent.\n"
      "Exit code: 0 all well, 1 the server misbehaved or is not there, 2 bad usage."};
  const std::map<std::string, load_mode> modes{{"loop", load_mode::loop},
                                               {"hold", load_mode::hold}};
  int pin_cpu = 0;
  pid_t server_pid = 0;

  app.add_option("--host", parsed.host, "address of the server")->capture_default_str();
  app.add_option("--port", parsed.port, "port of the server")
      ->capture_default_str()
      ->check(CLI::Range(1, 65535));
  app.add_option("--mode", parsed.mode,
                 "loop: keep all connections busy for --seconds; "
                 "hold: one round trip on each, all open until the last is done")
      ->transform(CLI::CheckedTransformer(modes))
      ->type_name("loop|hold");
  app.add_option("--connections", parsed.connections, "connections open at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--size", parsed.size_bytes, "bytes in a request")
      ->capture_default_str()
      ->check(CLI::Range(1, 64 << 20));
  const auto* depth = app.add_option("--depth", parsed.depth, "requests in flight on each connection")
                          ->capture_default_str()
                          ->check(CLI::Range(1, 65536));
  const auto* rate =
      app.add_option("--rate", parsed.rate_per_second,
                     "open loop: so many requests a second, all connections together, at times "
                     "drawn in advance (Poisson); latencies count from those times, however late "
                     "the request can be sent. One in flight on each connection")
          ->check(CLI::Range(1.0, 1e7));
  app.add_option("--stalls", parsed.stalls_per_second,
                 "so many requests a second, all connections together, ask the server for 1 ms of "
                 "CPU: for a server with --stall")
      ->check(CLI::Range(0.01, 1e6));
  app.add_option("--seconds", parsed.seconds, "length of the measured window")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 86400.0));
  app.add_option("--warmup", parsed.warmup_seconds, "load before the window, not counted")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 3600.0));
  app.add_option("--timeout", parsed.timeout_seconds,
                 "seconds to connect in, and to wait for the last answers")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 3600.0));
  app.add_option("--seed", parsed.seed, "seed of the bytes that are sent")->capture_default_str();
  app.add_flag("--verify,!--no-verify", parsed.verify,
               "compare every byte with what was sent (default)");
  app.add_flag("--json", parsed.json, "print the figures as JSON");
  app.add_flag("--quiet", parsed.quiet, "no progress on standard error");
  const auto* pin =
      app.add_option("--pin", pin_cpu, "run on this CPU only")->check(CLI::Range(0, 1023));
  const auto* pid =
      app.add_option("--server-pid", server_pid, "report the CPU time of this process per request; mode hold: and its memory per connection")
          ->check(CLI::PositiveNumber);
  try {
    app.parse(argc, argv);
    if (rate->count() > 0 && depth->count() > 0) {
      throw CLI::ValidationError("--rate", "an open loop has no --depth");
    }
    if (parsed.mode == load_mode::hold && (parsed.has_rate() || parsed.has_stalls())) {
      throw CLI::ValidationError("--mode hold", "has no --rate and no --stalls");
    }
    if (rate->count() > 0 && parsed.stalls_per_second > parsed.rate_per_second) {
      throw CLI::ValidationError("--stalls", "are more than the requests of --rate");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (pin->count() > 0) {
    parsed.pin_cpu = pin_cpu;
  }
  if (pid->count() > 0) {
    parsed.server_pid = server_pid;
  }
  return std::nullopt;
}

}  // namespace net_load
