#include "report.hpp"

#include "../stall.h"

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

// Stall time offered a second, as a share of one core.
double offered_stall(const options& settings) noexcept {
  return settings.stalls_per_second * static_cast<double>(stall_ns) / 1e9;
}

void print_quantiles(const char* what, const histogram& latency) {
  std::printf("  %-10s  p50 %s   p99 %s   p99.9 %s   max %s\n", what,
              readable(microseconds(latency.quantile(0.50))).c_str(),
              readable(microseconds(latency.quantile(0.99))).c_str(),
              readable(microseconds(latency.quantile(0.999))).c_str(),
              readable(microseconds(latency.max())).c_str());
}

void print_json_quantiles(const char* name, bool there, const histogram& latency) {
  if (!there) {
    std::printf("  \"%s\": null,\n", name);
    return;
  }
  std::printf(
      "  \"%s\": {\"mean\": %.3f, \"p50\": %.3f, \"p99\": %.3f, \"p99_9\": %.3f, \"max\": %.3f},\n",
      name, latency.mean() / 1e3, microseconds(latency.quantile(0.50)),
      microseconds(latency.quantile(0.99)), microseconds(latency.quantile(0.999)),
      microseconds(latency.max()));
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
    std::printf("%u connections, %u bytes a request, ", settings.connections, settings.size_bytes);
    if (settings.has_rate()) {
      std::printf("%.0f requests/s offered, %.2f s\n", settings.rate_per_second,
                  result.window_seconds);
    } else {
      std::printf("%u in flight on each, %.2f s\n", settings.depth, result.window_seconds);
    }
    std::printf("  requests/s  %.0f\n", requests_per_second(result));
  }
  if (settings.has_stalls()) {
    std::printf("  stalls/s    %.0f of 1 ms; offered: %.0f, %.0f%% of one core\n",
                static_cast<double>(result.stalls) / result.window_seconds,
                settings.stalls_per_second, 100 * offered_stall(settings));
  }
  print_quantiles("latency", result.latency_ns);
  if (settings.has_stalls()) {
    print_quantiles("unmarked", result.unmarked_ns);
  }
  if (settings.has_rate()) {
    print_quantiles("sent late", result.lateness_ns);
  }
  if (result.server_cpu_seconds) {
    std::printf("  server CPU  %.2f us a request (%.0f%% of one CPU)\n", cpu_us_per_request(result),
                100.0 * *result.server_cpu_seconds / result.window_seconds);
  }
  if (result.server_bytes_per_connection) {
    std::printf("  server memory  %.0f bytes a connection\n", *result.server_bytes_per_connection);
  }
  const failure_tally& failures = result.failures;
  std::printf("  errors      %" PRIu64, failures.total());
  if (failures.total() > 0) {
    std::printf(" (%" PRIu64 " changed bytes, %" PRIu64 " resets, %" PRIu64 " early ends, %" PRIu64
                " unanswered, %" PRIu64 " not stalled)",
                failures.of(failure_kind::mismatch), failures.of(failure_kind::reset),
                failures.of(failure_kind::early_eof), failures.of(failure_kind::unanswered),
                failures.of(failure_kind::not_stalled));
  }
  std::printf("%s\n", settings.verify ? "; every byte compared" : "; bytes not compared");
}

void print_json(const options& settings, const figures& result) {
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
  std::printf("  \"rate_per_second\": %.1f,\n  \"stalls_per_second\": %.1f,\n  \"stalls\": %" PRIu64 ",\n",
              settings.rate_per_second, settings.stalls_per_second, result.stalls);
  print_json_quantiles("latency_us", true, result.latency_ns);
  print_json_quantiles("unmarked_latency_us", settings.has_stalls(), result.unmarked_ns);
  print_json_quantiles("sent_late_us", settings.has_rate(), result.lateness_ns);
  if (result.server_cpu_seconds) {
    std::printf("  \"server_cpu_seconds\": %.6f,\n  \"server_cpu_us_per_request\": %.4f,\n",
                *result.server_cpu_seconds, cpu_us_per_request(result));
  } else {
    std::printf("  \"server_cpu_seconds\": null,\n  \"server_cpu_us_per_request\": null,\n");
  }
  if (result.server_bytes_per_connection) {
    std::printf("  \"server_bytes_per_connection\": %.1f,\n", *result.server_bytes_per_connection);
  } else {
    std::printf("  \"server_bytes_per_connection\": null,\n");
  }
  std::printf(
      "  \"errors\": {\"total\": %" PRIu64 ", \"mismatch\": %" PRIu64 ", \"reset\": %" PRIu64
      ", \"early_eof\": %" PRIu64 ", \"unanswered\": %" PRIu64 ", \"not_stalled\": %" PRIu64 "}\n}\n",
      failures.total(), failures.of(failure_kind::mismatch), failures.of(failure_kind::reset),
      failures.of(failure_kind::early_eof), failures.of(failure_kind::unanswered),
      failures.of(failure_kind::not_stalled));
}

}  // namespace net_load
