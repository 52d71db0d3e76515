#include "report.hpp"

#include <cinttypes>
#include <cstdio>
#include <string>

namespace net_load {

namespace {

double microseconds(std::uint64_t ns) noexcept { return static_cast<double>(ns) / 1e3; }

// Microseconds in a unit that fits the eye.
std::string readable(double us) {
  char text[32];
  if (us < 1e3) {
    std::snprintf(text, sizeof(text), "%.0f us", us);
  } else if (us < 1e6) {
    std::snprintf(text, sizeof(text), "%.2f ms", us / 1e3);
  } else {
    std::snprintf(text, sizeof(text), "%.2f s", us / 1e6);
  }
  return text;
}

double requests_per_second(const figures& result) noexcept {
  return result.window_seconds > 0 ? static_cast<double>(result.requests) / result.window_seconds
                                   : 0.0;
}

double cpu_us_per_request(const figures& result) noexcept {
  return result.requests > 0
             ? *result.server_cpu_seconds * 1e6 / static_cast<double>(result.requests)
             : 0.0;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
    }
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

}  // namespace

void print_text(const options& settings, const figures& result) {
  if (settings.mode == load_mode::hold) {
    std::printf("%u connections open at once, %" PRIu64
                " round trips of %u bytes in %.2f s (connected in %.2f s)\n",
                result.connections_left, result.requests, settings.size_bytes,
                result.window_seconds, result.connect_seconds);
  } else {
    std::printf("%u connections, %u bytes a request, %u in flight on each, %.2f s\n",
                settings.connections, settings.size_bytes, settings.depth, result.window_seconds);
    std::printf("  requests/s  %.0f\n", requests_per_second(result));
  }
  const histogram& latency = result.latency_ns;
  std::printf("  latency     p50 %s   p99 %s   p99.9 %s   max %s\n",
              readable(microseconds(latency.quantile(0.50))).c_str(),
              readable(microseconds(latency.quantile(0.99))).c_str(),
              readable(microseconds(latency.quantile(0.999))).c_str(),
              readable(microseconds(latency.max())).c_str());
  if (result.server_cpu_seconds) {
    std::printf("  server CPU  %.2f us a request (%.0f%% of one CPU)\n", cpu_us_per_request(result),
                100.0 * *result.server_cpu_seconds / result.window_seconds);
  }
  const failure_tally& failures = result.failures;
  std::printf("  errors      %" PRIu64, failures.total());
  if (failures.total() > 0) {
    std::printf(" (%" PRIu64 " changed bytes, %" PRIu64 " resets, %" PRIu64 " early ends, %" PRIu64
                " unanswered)",
                failures.of(failure_kind::mismatch), failures.of(failure_kind::reset),
                failures.of(failure_kind::early_eof), failures.of(failure_kind::unanswered));
  }
  std::printf("%s\n", settings.verify ? "; every byte compared" : "; bytes not compared");
}

void print_json(const options& settings, const figures& result) {
  const histogram& latency = result.latency_ns;
  const failure_tally& failures = result.failures;
  std::printf("{\n  \"host\": %s,\n  \"port\": %u,\n  \"mode\": \"%s\",\n",
              quoted(settings.host).c_str(), settings.port,
              settings.mode == load_mode::hold ? "hold" : "loop");
  std::printf(
      "  \"connections\": %u,\n  \"connections_left\": %u,\n  \"size_bytes\": %u,\n  \"depth\": "
      "%u,\n",
      result.connections_opened, result.connections_left, settings.size_bytes, settings.depth);
  std::printf("  \"verified\": %s,\n  \"connect_seconds\": %.6f,\n  \"window_seconds\": %.6f,\n",
              settings.verify ? "true" : "false", result.connect_seconds, result.window_seconds);
  std::printf("  \"requests\": %" PRIu64 ",\n  \"requests_per_second\": %.1f,\n", result.requests,
              requests_per_second(result));
  std::printf(
      "  \"latency_us\": {\"mean\": %.3f, \"p50\": %.3f, \"p99\": %.3f, \"p99_9\": %.3f, \"max\": "
      "%.3f},\n",
      latency.mean() / 1e3, microseconds(latency.quantile(0.50)),
      microseconds(latency.quantile(0.99)), microseconds(latency.quantile(0.999)),
      microseconds(latency.max()));
  if (result.server_cpu_seconds) {
    std::printf("  \"server_cpu_seconds\": %.6f,\n  \"server_cpu_us_per_request\": %.4f,\n",
                *result.server_cpu_seconds, cpu_us_per_request(result));
  } else {
    std::printf("  \"server_cpu_seconds\": null,\n  \"server_cpu_us_per_request\": null,\n");
  }
  std::printf(
      "  \"errors\": {\"total\": %" PRIu64 ", \"mismatch\": %" PRIu64 ", \"reset\": %" PRIu64
      ", \"early_eof\": %" PRIu64 ", \"unanswered\": %" PRIu64 "}\n}\n",
      failures.total(), failures.of(failure_kind::mismatch), failures.of(failure_kind::reset),
      failures.of(failure_kind::early_eof), failures.of(failure_kind::unanswered));
}

}  // namespace net_load
